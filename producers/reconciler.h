// The reconciler compares what is there with what was seen, for each trigger: at start, when notifications were lost,
// and every `rescan` of its function. What differs becomes a candidate like any notified name; rows of names that are
// gone are removed. So a file that came while nobody watched starts exactly one run.
//
// Memory: the rows of the triggers being scanned (about 150 bytes a name) and one page of the listing.
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "async/task_group.h"
#include "core/backoff.h"
#include "core/error.h"
#include "engine/registry.h"
#include "producers/candidates.h"
#include "state/state_store.h"
#include "storage/object_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

class Reconciler {
 public:
  struct Options {
    std::size_t page = 1'000;
    std::size_t scans_max = 2;                // at a time
    std::chrono::milliseconds rescan_max{0};  // the longest between two scans, whatever a function says; 0: none
    std::chrono::milliseconds retry_base{1'000};
    std::chrono::milliseconds retry_cap{60'000};
  };

  enum class FirstScan : std::uint8_t { now, after_rescan_time };

  Reconciler(EventLoop& loop, const Registry& registry, ObjectStore& objects, SeenStore& seen, Candidates& candidates,
             Options options, Metrics& metrics, Log& log);

  // Looks after a trigger that has its first rows. One that is known gets its function's new settings.
  void start(const Trigger& trigger, FirstScan first);
  void stop(const std::string& trigger_id);

  // Scans every trigger of this bucket soon, also one that is being scanned now.
  void request(const std::string& bucket);

  // Returns when every scan that is due or on has ended; the first error of one; `cancelled` when stopped first. What
  // they found are candidates then.
  [[nodiscard]] Task<Result<void>> drain(std::stop_token stop = {});

  [[nodiscard]] Task<void> close();

 private:
  // Owned by the map and by its running task, which notices by `stop` that the map has let go.
  struct Job {
    explicit Job(EventLoop& loop) : wake(loop) {}
    Trigger trigger;
    bool due = false;
    bool scanning = false;
    std::uint32_t failures = 0;
    std::stop_source stop;
    OneShot<bool> wake;
    std::vector<OneShot<Result<void>>> waiters;       // for the scan that is on
    std::vector<OneShot<Result<void>>> waiters_next;  // for the one that is due
  };

  Task<void> look_after(std::shared_ptr<Job> job);
  Task<void> pause(std::shared_ptr<Job> job);
  Task<Result<void>> scan(std::shared_ptr<Job> job);
  Task<Result<void>> compare(std::shared_ptr<Job> job, std::map<std::string, EventId> rows);
  Task<Result<void>> forget(std::string trigger_id, std::vector<std::string> keys);

  EventLoop& loop_;
  const Registry& registry_;
  ObjectStore& objects_;
  SeenStore& seen_;
  Candidates& candidates_;
  Options options_;
  Counter& rescans_;
  Log& log_;
  Backoff backoff_;
  Semaphore scans_;
  std::map<std::string, std::shared_ptr<Job>> jobs_;
  TaskGroup group_;
};

}  // namespace millrace
