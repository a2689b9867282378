// Synchronous calls between nodes: a node that runs no functions publishes the call as an event that says that somebody
// waits, and awaits the row of its run; the node that runs it tells when it is over.
//
//   auto record = co_await awaited.call(function, std::move(event), run_id, hold, stop);
//
// What is told may get lost, so the row is also looked for now and then.
// Threads: the domain loop.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "async/event_loop.h"
#include "async/task.h"
#include "async/task_group.h"
#include "core/error.h"
#include "core/event.h"
#include "core/function_spec.h"
#include "core/run.h"
#include "engine/ingest.h"
#include "engine/live_run.h"
#include "engine/nodes.h"
#include "state/state_store.h"
#include "telemetry/log.h"

namespace millrace {

class AwaitedRuns final : public RunListener {
 public:
  AwaitedRuns(EventLoop& loop, StateStore& state, Ingest& ingest, Nodes& nodes, Log& log);

  // The run's row, whatever its outcome. `unavailable`: no node runs functions. `deadline_exceeded`: neither a slot
  // within `hold` nor an end within the function's timeout; the run may still happen. A caller who leaves cancels it
  // where it runs.
  [[nodiscard]] Task<Result<RunRecord>> call(std::shared_ptr<const FunctionSpec> function, Event event, RunId run_id,
                                             EventLoop::Duration hold, std::stop_token stop);

  // Somebody has told that it is over.
  void ended(const RunId& run_id);
  void look_at_all();

  void run_changed(const LiveRun& run) override;
  void run_ended(const LiveRun& run, const RunEnd& end) override;

 private:
  using Waiting = std::multimap<RunId, std::stop_source>;

  Task<Result<RunRecord>> await_row(RunId run_id, EventLoop::Duration patience, std::stop_token stop);
  Task<void> announce(Notice notice);

  EventLoop& loop_;
  StateStore& state_;
  Ingest& ingest_;
  Nodes& nodes_;
  Log& log_;
  Waiting waiting_;
  TaskGroup announcements_;
};

// The attribute of an event whose result somebody waits for.
inline constexpr std::string_view kAwaitedAttribute = "millraceawaited";
[[nodiscard]] bool is_awaited(const Event& event);

}  // namespace millrace
