#include "storage/fs/shared_syncs.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace millrace::fs {

SharedSyncs::SharedSyncs(EventLoop& loop, BlockingPool& pool, Metrics& metrics)
    : loop_(loop),
      pool_(pool),
      syncs_(metrics.counter("millrace_storage_syncs_total", "Syncs of a file system, each for all who waited.")),
      group_(loop) {}

Task<Result<void>> SharedSyncs::sync(BucketPtr bucket, std::uint64_t failures_before, After after) {
  Volume& volume = volumes_[bucket->device()];
  const auto linger = company_.arrive(loop_.now());
  if (volume.waiters.empty()) volume.due = loop_.now() + linger;
  const OneShot<Result<void>> done(loop_);
  volume.waiters.push_back({.bucket = std::move(bucket), .done = done, .after = std::move(after)});
  schedule(volume);
  auto synced = co_await done.wait();
  if (synced && failures_ != failures_before) {
    co_return fail(Errc::unavailable, "sync: an earlier one failed, perhaps over what was written for this");
  }
  co_return synced;
}

void SharedSyncs::schedule(Volume& volume) {
  if (volume.busy || volume.waiters.empty()) return;
  volume.busy = true;
  const auto left = volume.due - loop_.now();
  if (left <= EventLoop::Duration(0)) {
    group_.spawn(run(volume));
    return;
  }
  volume.timer = loop_.start_timer(left, [this, &volume] { group_.spawn(run(volume)); });
}

// Always by the same descriptor: the kernel tells it of every error of writing since it was opened. One that was opened
// later, of another bucket, is not told of an error before, if somebody else's sync was. After a failure any will do:
// all who wrote before it are told that they have to write anew.
Task<void> SharedSyncs::run(Volume& volume) {
  auto waiters = std::exchange(volume.waiters, {});
  if (!volume.bucket) volume.bucket = waiters.front().bucket;
  std::vector<After> afters;
  for (auto& waiter : waiters) {
    if (waiter.after) afters.push_back(std::move(waiter.after));
  }
  const auto synced =
      co_await pool_.run([bucket = volume.bucket, afters = std::move(afters)]() mutable -> Result<void> {
        if (syncfs(bucket->directory()) != 0) {
          return fail(error_from_errno(errno, "sync the file system of " + bucket->label()));
        }
        for (auto& after : afters) after();
        return {};
      });
  syncs_.add();
  if (!synced) {
    ++failures_;
    volume.bucket.reset();
  }
  for (const auto& waiter : waiters) waiter.done.set(synced);
  volume.busy = false;
  schedule(volume);
}

}  // namespace millrace::fs
