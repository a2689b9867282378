// Synchronous calls: somebody waits for the result, so no broker is in between. One attempt, the same row and the same
// outputs as any other run.
//
// Threads: the domain loop.
#pragma once

#include <stop_token>
#include <string>

#include "async/task.h"
#include "core/error.h"
#include "core/event.h"
#include "core/run.h"
#include "engine/admission.h"
#include "engine/awaited_runs.h"
#include "engine/finish.h"
#include "engine/ingest.h"
#include "engine/invoker.h"
#include "engine/registry.h"
#include "engine/run_table.h"
#include "state/state_store.h"

namespace millrace {

class SynchronousCalls {
 public:
  SynchronousCalls(EventLoop& loop, const Registry& registry, Ingest& ingest, Admission& admission, Invoker& invoker,
                   Finish& finish, StateStore& state, RunTable& runs);

  // The run's row, whatever its outcome. The same `source_id` again gives the row that stands. Errors: `not_found` (no
  // such function), `resource_exhausted` (no slot within `hold`), `already_exists` (that very call is running now).
  [[nodiscard]] Task<Result<RunRecord>> call(std::string function, Event event, EventLoop::Duration hold,
                                             std::stop_token stop);

  // From now on other nodes run what is called here.
  void call_elsewhere(AwaitedRuns& awaited) { awaited_ = &awaited; }

 private:
  EventLoop& loop_;
  const Registry& registry_;
  Ingest& ingest_;
  Admission& admission_;
  Invoker& invoker_;
  Finish& finish_;
  StateStore& state_;
  RunTable& runs_;
  AwaitedRuns* awaited_ = nullptr;
};

}  // namespace millrace
