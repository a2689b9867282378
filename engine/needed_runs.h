// Needed runs: which finished runs the broker's messages still stand on. An event that comes again finds the row of its
// run and does not run a second time; an event about an output reads the private copy that the run behind it has kept.
//
//   auto needed = co_await needed_runs(loop, broker);
//   if (row.finished_at < needed->open_since && !needed->by_dead_letter(row)) ...   // nobody will ask for it
//
// Two facts make that enough. Whatever waits or is worked on was published before its run was finished, and after the
// run whose output it is about was finished: so a run that was finished before the oldest open message was published
// has nothing to do with any of them. Dead letters are looked at one by one.
//
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <string>
#include <unordered_set>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "core/error.h"
#include "core/ids.h"
#include "core/run.h"
#include "state/state_store.h"

namespace millrace {

// Dead letters that are looked at; where there are more, nobody knows what they need.
inline constexpr std::size_t kDeadLettersMax = 100'000;

struct NeededRuns {
  WallTime open_since = WallTime::max();  // when the oldest message was published that is neither done nor dead
  std::string open_topic;                 // where it is
  std::unordered_set<EventId> dead_events;
  std::unordered_set<RunId> dead_causes;

  [[nodiscard]] bool by_dead_letter(const OldRun& run) const {
    return dead_events.contains(run.event_id) || dead_causes.contains(run.run_id);
  }
};

// Of the work topics and the groups of functions on user topics; nothing else holds events of runs.
// `failed_precondition` beyond kDeadLettersMax.
[[nodiscard]] Task<Result<NeededRuns>> needed_runs(EventLoop& loop, Broker& broker);

}  // namespace millrace
