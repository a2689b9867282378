// Finish: what happens after a run is committed. Place its outputs under the users' names, publish the events about
// them, mark both. Serves the delivery handler, the synchronous call and the sweeper; a crash anywhere repeats only
// what is not marked.
//
// Threads: the domain loop.
#pragma once

#include "async/task.h"
#include "core/error.h"
#include "core/run.h"
#include "engine/ingest.h"
#include "engine/placed_names.h"
#include "engine/registry.h"
#include "engine/topic_outputs.h"
#include "state/state_store.h"
#include "storage/output_store.h"

namespace millrace {

class Finish {
 public:
  Finish(OutputStore& outputs, StateStore& state, Ingest& ingest, const Registry& registry);

  // Success: placed, published and marked. An error that is not retryable means that a name can never be placed; the
  // others are, and the message names path and cause.
  [[nodiscard]] Task<Result<void>> place_and_publish(RunRecord record);

  // From now on results for topics are published; without it they are `unimplemented`.
  void publish_events_with(TopicOutputs& events) { events_ = &events; }

  [[nodiscard]] const PlacedNames& placed_names() const { return placed_names_; }

 private:
  Task<Result<void>> place(const RunRecord& record);
  // Adds to `seen` what triggers then know of the outputs.
  Task<Result<void>> publish(const RunRecord& record, SeenRows& seen);

  OutputStore& outputs_;
  StateStore& state_;
  Ingest& ingest_;
  const Registry& registry_;
  TopicOutputs* events_ = nullptr;
  PlacedNames placed_names_;
};

// Where a run's attempt keeps its files: on the file system of its first output.
[[nodiscard]] AttemptPlace attempt_place(const FunctionSpec& function, RunId run_id, AttemptToken token);

// The same for a committed row, whose function may be gone.
[[nodiscard]] AttemptPlace attempt_place(const RunRecord& record);

// Who the names of a run's outputs belong to, against other runs that make the same.
[[nodiscard]] OutputRank output_rank(const Order& order, std::uint32_t generation, const EventId& event_id,
                                     const RunId& run_id);

// The event about one output of a run.
[[nodiscard]] Event output_event(const RunRecord& record, std::uint32_t index);

}  // namespace millrace
