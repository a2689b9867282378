// Executor `process`: the function runs as an ordinary process of the daemon's user, with limits but without isolation.
// For development, and for hosts that can do no better.
//
//   auto executor = ProcessExecutor::open(loop, client, pool, log, {.data = "/var/lib/millrace"});
//
// Below the data directory it owns functions/<uid>-<revision>/script.sh and scratch/<run>-<n>/. The latter holds in/
// with a symbolic link for each input, is the function's working directory, HOME and TMPDIR, and is removed afterwards.
//
// Thread: the loop's; files are handled on the pool. `process.*` of SIGPIPE: see pipe_stream.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "async/task_group.h"
#include "runtime/executor.h"
#include "runtime/launched/launcher_client.h"
#include "telemetry/log.h"

namespace millrace {

class ProcessExecutor final : public Executor {
 public:
  struct Options {
    std::string data;  // absolute
  };

  // Blocks: makes the directories anew, so call it before the loop runs.
  [[nodiscard]] static Result<std::unique_ptr<ProcessExecutor>> open(EventLoop& loop, launched::LauncherClient& client,
                                                                     BlockingPool& pool, Log& log, Options options);

  std::vector<Control> controls() const override;
  Task<Result<std::vector<std::string>>> check(std::shared_ptr<const FunctionSpec> function) override;
  Task<Result<Execution>> run(ExecutionRequest request, std::stop_token stop) override;
  void forget(const FunctionUid& function, std::uint64_t revision) override;

 private:
  using Revision = std::pair<FunctionUid, std::uint64_t>;

  // A script on disk. Never two in one directory, so that the removal of one cannot meet the next.
  struct Installed {
    std::string directory;
    std::size_t users = 0;
    bool forgotten = false;  // removed when its last user leaves
  };

  ProcessExecutor(EventLoop& loop, launched::LauncherClient& client, BlockingPool& pool, Log& log, Options options);

  [[nodiscard]] std::string functions() const { return options_.data + "/functions"; }
  [[nodiscard]] std::string scratch() const { return options_.data + "/scratch"; }
  Task<Result<std::shared_ptr<Installed>>> install(std::shared_ptr<const FunctionSpec> function);
  Task<Result<Execution>> run_in(std::string directory, std::string script, ExecutionRequest request,
                                 std::stop_token stop);
  Task<void> remove(std::string directory);

  EventLoop& loop_;
  launched::LauncherClient& client_;
  BlockingPool& pool_;
  Log& log_;
  Options options_;
  std::map<Revision, std::shared_ptr<Installed>> installed_;  // shared with the runs under way
  TaskGroup tasks_;
};

}  // namespace millrace
