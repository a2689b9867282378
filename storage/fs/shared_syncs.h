// SharedSyncs: one sync of a file system for all who wait for one.
//
//   const auto before = syncs_.failures();
//   ... write ...
//   auto synced = co_await syncs_.sync(bucket, before);
//
// While a sync runs, those who come wait for the next; when many come, it waits for company before it starts. A run is
// synced twice, its results and their names, which at one flush of the disk each would be most of what it costs.
//
// As many wait as runs are being settled, which the engine bounds. Threads: the domain loop; the syncs run in the pool.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"
#include "async/task_group.h"
#include "core/company.h"
#include "core/error.h"
#include "storage/fs/buckets.h"
#include "telemetry/metrics.h"

namespace millrace::fs {

class SharedSyncs {
 public:
  using After = std::move_only_function<void()>;

  // The pool and the loop outlive it.
  SharedSyncs(EventLoop& loop, BlockingPool& pool, Metrics& metrics);
  SharedSyncs(const SharedSyncs&) = delete;
  SharedSyncs& operator=(const SharedSyncs&) = delete;

  // How many syncs have failed; to be asked for before the first write.
  [[nodiscard]] std::uint64_t failures() const { return failures_; }

  // Returns when all that has been written to the bucket's file system is on the disk. `failures_before`: a sync that
  // failed since may have swallowed the error of a write that this one is asked to vouch for. `after` runs in the pool
  // once it is durable, also if nobody waits any more.
  [[nodiscard]] Task<Result<void>> sync(BucketPtr bucket, std::uint64_t failures_before, After after = {});

 private:
  struct Waiter {
    BucketPtr bucket;
    OneShot<Result<void>> done;
    After after;
  };
  struct Volume {
    BucketPtr bucket;  // by whose descriptor it is synced; null: by that of whoever waits first
    std::vector<Waiter> waiters;
    EventLoop::TimePoint due;
    bool busy = false;  // a sync or its timer runs
    std::unique_ptr<EventLoop::Handle> timer;
  };

  void schedule(Volume& volume);
  Task<void> run(Volume& volume);

  EventLoop& loop_;
  BlockingPool& pool_;
  Counter& syncs_;
  Company company_;
  std::map<dev_t, Volume> volumes_;  // as many as file systems hold buckets
  std::uint64_t failures_ = 0;
  TaskGroup group_;
};

}  // namespace millrace::fs
