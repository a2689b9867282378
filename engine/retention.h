// Retention: records of runs that are over go when they are old or too many, the oldest first, and with each its
// attempts and the private copies of its outputs. What users see in their buckets stays.
//
//   Retention retention(loop, state, outputs, broker, runs, {.keep = 30 * 24h, .runs_max = 1'000'000}, log, metrics);
//   background.spawn(retention.run(stop));
//
// What the record of a run keeps from happening twice can happen again once it is gone, so none goes that anybody may
// still ask for, however old and however many there are: not before it is placed and published; not while an event
// waits that was published before it was over (needed_runs.h), nor while one that it has started does, which may read
// its private copies; not while a dead letter stands on it. Against producers that repeat themselves it is kept for at
// least kRunsKeptMin: longer than the broker's window for repeated ids, and than it takes a producer that starts again
// to look at everything once.
//
// A crash between any two steps leaves a row whose directory is gone, which the next pass removes.
//
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "engine/needed_runs.h"
#include "engine/run_table.h"
#include "state/state_store.h"
#include "storage/output_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

inline constexpr std::chrono::milliseconds kRunsKeptMin = std::chrono::hours(1);

struct RetentionOptions {
  std::chrono::milliseconds keep = std::chrono::hours(24 * 30);  // at least kRunsKeptMin counts
  std::size_t runs_max = 1'000'000;                              // records of later runs that make one go
  std::chrono::milliseconds every = std::chrono::minutes(5);
  std::size_t batch = 100;  // runs of one write
  // Whether this node is the one to do it, where several share the records; empty: it is.
  std::function<bool()> is_ours{};
};

class Retention {
 public:
  Retention(EventLoop& loop, StateStore& state, OutputStore& outputs, Broker& broker, const RunTable& runs,
            RetentionOptions options, Log& log, Metrics& metrics);

  // Until stopped; at once for the first time. The functions must be known by then: a broker whose topics are not made
  // yet knows of no events.
  [[nodiscard]] Task<void> run(std::stop_token stop);

 private:
  struct Removed {
    std::size_t runs = 0;
    std::size_t attempts = 0;  // of events that never came to a run
    std::size_t held = 0;      // old, and needed
  };

  Task<Result<void>> pass(std::stop_token stop);
  // Runs that were finished earlier are old or too many.
  Task<Result<WallTime>> old_before();
  Task<Result<void>> remove_runs(WallTime before, const NeededRuns& needed, std::stop_token stop, Removed& removed);
  Task<Result<void>> remove_attempts(WallTime before, std::stop_token stop, Removed& removed);
  // Those of the page whose directories are gone by now.
  Task<std::vector<RunId>> drop_directories(const std::vector<OldRun>& page, const NeededRuns& needed);
  void say_who_waits(const NeededRuns& needed, WallTime settled, WallTime old);

  EventLoop& loop_;
  RunStore& records_;
  OutputStore& outputs_;
  Broker& broker_;
  const RunTable& runs_;
  RetentionOptions options_;
  Log& log_;
  Counter& removed_runs_;
  Counter& removed_attempts_;
  Gauge& held_;
  std::string waits_in_;  // the topic that was told of
};

}  // namespace millrace
