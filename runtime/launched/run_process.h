// One execution by the launcher, from request to result: pipes, log, limits of time and output, the end of the whole
// tree, and the verdict.
//
//   auto execution = co_await run_process(loop, client, use, std::move(plan), stop);
//
// SIGPIPE must be ignored in this process (pipe_stream.h). Thread: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/error.h"
#include "core/fd.h"
#include "core/function_spec.h"
#include "runtime/executor.h"
#include "runtime/launched/launcher_client.h"
#include "runtime/launched/outcome.h"

namespace millrace::launched {

inline constexpr EventLoop::Duration kMeasureEvery = std::chrono::milliseconds(100);

// How long pipes may stay open after the last process of the tree is gone: only a descriptor that was passed to a
// process outside of it can do that.
inline constexpr EventLoop::Duration kPipesAfterEnd = std::chrono::seconds(1);

// How long a tree may take to die once it was killed before the launcher itself is replaced; more than any disk needs.
inline constexpr EventLoop::Duration kKillWait = std::chrono::seconds(60);

struct RunPlan {
  std::shared_ptr<const FunctionSpec> function;
  launcher::Spawn spawn;  // inputs, output, working directory; limits are added from the function
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // NAME=value
  std::vector<Fd> files;                 // output directory and inputs, as `spawn` announces them
  std::string input_bytes;
  std::function<void(std::string_view)> on_log;  // of the request
  // The size of the outputs so far; empty: there are none. Called every kMeasureEvery and once after the end.
  std::move_only_function<Task<OutputSize>()> measure;
};

// The errors and outcomes of Executor::run. `use` must live until this returns.
[[nodiscard]] Task<Result<Execution>> run_process(EventLoop& loop, LauncherClient& client, const TemplateUse& use,
                                                  RunPlan plan, std::stop_token stop);

}  // namespace millrace::launched
