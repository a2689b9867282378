// The invoker: one attempt of one run, from the staged input to the committed row.
//
//   auto invoked = co_await invoker.invoke(std::move(work), std::move(slot), active, delivery.begin(), stop);
//   if (!invoked) ...                  // our own trouble; nothing counted, nothing committed
//   if (invoked->committed) ...        // the row that stands: ours, or that of an attempt that was faster
//   else ...                           // the attempt ended badly and is not the last: try again later
//
// Threads: the domain loop. Owns every resource it touches: leaving at any point releases them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "async/event_loop.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "broker/broker.h"
#include "core/error.h"
#include "core/event.h"
#include "core/function_spec.h"
#include "core/run.h"
#include "engine/admission.h"
#include "engine/live_logs.h"
#include "engine/registry.h"
#include "engine/run_table.h"
#include "engine/stage_in.h"
#include "runtime/executor.h"
#include "state/state_store.h"
#include "storage/output_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

struct Work {
  std::shared_ptr<const FunctionSpec> function;
  Event event;
  RunId run_id;
  std::uint32_t generation = 0;
  Counters counters;  // before this attempt
  WallTime queued_at{};
  bool synchronous = false;  // somebody waits for the result: one attempt, and stdout is kept
};

struct Invoked {
  std::optional<RunRecord> committed;  // always there for a synchronous run: its one attempt is the last
  AttemptOutcome outcome = AttemptOutcome::succeeded;
  std::string message;
  Semaphore::Permit settling;  // hold it until the run is settled: it bounds how many wait for disks at a time
};

class Invoker {
 public:
  Invoker(EventLoop& loop, const Executors& executors, StageIn& stage_in, OutputStore& outputs, StateStore& state,
          std::string node, Log& log, Metrics& metrics);

  // Told of directories that could not be removed.
  void on_left(std::function<void(AttemptPlace)> callback) { on_left_ = std::move(callback); }

  // From now on what functions write is shown there while they run.
  void show_logs(LiveLogs& logs) { logs_ = &logs; }

  // `stop` means: give it up without a trace, somebody else will run it (the lease is lost, the worker shuts down); the
  // answer is `aborted`. A user's cancel comes through `active` and is committed as the run's outcome.
  // `begin` records that the run begins and says what counts against it, before there is an attempt. The inputs
  // and the attempt's directory are made ready beside it. Where it fails the answer is its error, whatever else went
  // wrong. `slot` is given back as soon as the function's last process is gone: committing and placing wait for disks,
  // not for cpu or memory.
  [[nodiscard]] Task<Result<Invoked>> invoke(Work work, Admission::Slot slot, RunTable::Active& active,
                                             Task<Result<Counters>> begin, std::stop_token stop);

  // Commits an end that no attempt can improve: a final failure, a skip, a cancel. The standing row.
  [[nodiscard]] Task<Result<RunRecord>> commit_end(Work work, RunOutcome outcome, std::string reason);

 private:
  // The row that stands, if the run has one; `counters` once the run has begun.
  Task<Result<std::optional<RunRecord>>> begin_attempt(Task<Result<Counters>> begin, Attempt attempt,
                                                       std::optional<Counters>& counters);
  Task<Result<AttemptDirectory>> make_directory(Attempt attempt);
  // Why the run is no longer worth anything: its input, a user's object, is gone or replaced. Empty otherwise.
  Task<std::string> why_skipped(const Work& work);
  RunRecord record_of(const Work& work, const Attempt& attempt) const;
  Task<Result<Invoked>> run(const Work& work, Admission::Slot slot, Attempt attempt, StagedIn staged,
                            AttemptDirectory directory, RunTable::Active& active, std::stop_token stop);
  Task<Result<Invoked>> conclude(const Work& work, Attempt attempt, Execution execution, RunTable::Active& active,
                                 std::stop_token stop);
  Task<Result<Invoked>> end_badly(const Work& work, Attempt attempt, Execution execution);
  Task<Result<Invoked>> end_skipped(const Work& work, Attempt attempt, std::string reason, std::string log_tail);
  Task<Result<Invoked>> end_well(const Work& work, Attempt attempt, Execution execution, RunTable::Active& active,
                                 std::stop_token stop);
  Task<Result<Invoked>> commit(RunRecord record, AttemptOutcome outcome, std::string message);
  Task<void> close_unrun(Attempt attempt, std::string why);
  Task<void> end_attempt(Attempt attempt);
  Task<void> drop_attempt(Attempt attempt);
  Task<bool> remove_directory(Attempt attempt);

  EventLoop& loop_;
  const Executors& executors_;
  StageIn& stage_in_;
  OutputStore& outputs_;
  StateStore& state_;
  std::string node_;
  Log& log_;
  Metrics& metrics_;
  LiveLogs* logs_ = nullptr;
  std::function<void(AttemptPlace)> on_left_ = [](AttemptPlace) {};
  Semaphore settling_;
};

}  // namespace millrace
