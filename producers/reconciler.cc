#include "producers/reconciler.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"
#include "engine/ingest.h"

namespace millrace {
namespace {

constexpr std::size_t kRemovedPerWrite = 1'000;

void answer(std::vector<OneShot<Result<void>>> waiters, const Result<void>& result) {
  for (const auto& waiter : waiters) waiter.set(result);
}

}  // namespace

Reconciler::Reconciler(EventLoop& loop, const Registry& registry, ObjectStore& objects, SeenStore& seen,
                       Candidates& candidates, Options options, Metrics& metrics, Log& log)
    : loop_(loop),
      registry_(registry),
      objects_(objects),
      seen_(seen),
      candidates_(candidates),
      options_(options),
      rescans_(metrics.counter("millrace_watch_rescans_total", "scans of a trigger's folder")),
      log_(log),
      scans_(loop, options.scans_max),
      group_(loop) {}

void Reconciler::start(const Trigger& trigger, FirstScan first) {
  const auto known = jobs_.find(trigger.id);
  if (known != jobs_.end()) {
    known->second->trigger = trigger;
    known->second->wake.set(true);  // its pause may have another length now
    return;
  }
  const auto job = std::make_shared<Job>(loop_);
  job->trigger = trigger;
  job->due = first == FirstScan::now;
  jobs_.emplace(trigger.id, job);
  group_.spawn(look_after(job));
}

void Reconciler::stop(const std::string& trigger_id) {
  const auto found = jobs_.find(trigger_id);
  if (found == jobs_.end()) return;
  const auto job = found->second;
  jobs_.erase(found);
  job->stop.request_stop();
  job->wake.set(true);
}

void Reconciler::request(const std::string& bucket) {
  for (const auto& [id, job] : jobs_) {
    if (job->trigger.path.bucket() != bucket) continue;
    job->due = true;
    job->wake.set(true);
  }
}

Task<void> Reconciler::look_after(std::shared_ptr<Job> job) {
  const auto stop = job->stop.get_token();
  while (!stop.stop_requested()) {
    co_await pause(job);
    if (stop.stop_requested()) break;
    if (!job->due) continue;

    job->waiters = std::exchange(job->waiters_next, {});
    job->due = false;
    job->scanning = true;
    const auto scanned = co_await scan(job);
    job->scanning = false;
    if (!scanned && !stop.stop_requested()) {
      job->due = true;
      ++job->failures;
      log_.warn(
          "scan failed",
          {{"function", job->trigger.function->name}, {"path", job->trigger.path.path}, {"error", scanned.error()}});
    } else {
      job->failures = 0;
    }
    answer(std::exchange(job->waiters, {}), scanned);
  }
  // Whoever waits for a trigger that is gone waits for nothing.
  answer(std::exchange(job->waiters_next, {}), {});
}

// Until a scan is due, or somebody wakes the job: at once, after a failure's backoff, or after `rescan`.
Task<void> Reconciler::pause(std::shared_ptr<Job> job) {
  EventLoop::Duration length = job->trigger.function->rescan;
  const EventLoop::Duration longest = options_.rescan_max;
  if (longest > EventLoop::Duration(0) && (length > longest || length == EventLoop::Duration(0))) length = longest;
  const bool periodic = !job->due;
  if (job->due) {
    if (job->failures == 0) co_return;
    length = backoff_.delay(options_.retry_base, options_.retry_cap, job->failures);
  }
  job->wake = OneShot<bool>(loop_);
  std::unique_ptr<EventLoop::Handle> timer;
  if (length > EventLoop::Duration(0) || !periodic) {  // `rescan: 0` is never
    timer = loop_.start_timer(length, [job, periodic] {
      if (periodic) job->due = true;
      job->wake.set(true);
    });
  }
  co_await job->wake.wait();
}

Task<Result<void>> Reconciler::scan(std::shared_ptr<Job> job) {
  const auto stop = job->stop.get_token();
  const auto permit = co_await scans_.acquire(1, stop);
  if (!permit) co_return fail(permit.error());
  rescans_.add();
  auto rows = co_await seen_.all(job->trigger.id);
  if (!rows) co_return fail(rows.error());
  auto compared = co_await compare(job, std::move(*rows));
  co_return compared;
}

// Listing and rows are both sorted by key, so one walk over the two finds what is new and what is gone.
Task<Result<void>> Reconciler::compare(std::shared_ptr<Job> job, std::map<std::string, EventId> rows) {
  const auto stop = job->stop.get_token();
  const std::string bucket(job->trigger.path.bucket());
  std::string after;
  bool more = true;
  while (more) {
    const auto room = co_await candidates_.room(stop);
    if (!room) co_return fail(room.error());
    const auto listing = co_await objects_.list(bucket, job->trigger.path.folder(), after, options_.page);
    if (!listing) co_return fail(listing.error());

    std::vector<std::string> gone;
    auto row = rows.begin();
    for (const auto& info : listing->objects) {
      for (; row != rows.end() && row->first < info.key; ++row) gone.push_back(row->first);
      const bool known = row != rows.end() && row->first == info.key;
      const ObjectRef object{.bucket = bucket, .key = info.key, .version = info.version, .private_path = {}};
      const bool same = known && row->second == object_event_id(object);
      if (known) ++row;
      if (same) continue;
      const auto matches = registry_.match(object);
      if (std::ranges::find(matches, job->trigger.id, &Trigger::id) != matches.end())
        candidates_.add({bucket, info.key});
    }
    more = listing->truncated && !listing->objects.empty();
    if (more) {
      after = listing->objects.back().key;
    } else {
      for (; row != rows.end(); ++row) gone.push_back(row->first);
    }
    rows.erase(rows.begin(), row);
    if (!stop.stop_requested()) {
      const auto forgotten = co_await forget(job->trigger.id, std::move(gone));
      if (!forgotten) co_return fail(forgotten.error());
    }
  }
  co_return Result<void>();
}

Task<Result<void>> Reconciler::forget(std::string trigger_id, std::vector<std::string> keys) {
  for (std::size_t at = 0; at < keys.size(); at += kRemovedPerWrite) {
    const auto begin = keys.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = keys.begin() + static_cast<std::ptrdiff_t>(std::min(at + kRemovedPerWrite, keys.size()));
    const auto removed = co_await seen_.remove(trigger_id, std::vector<std::string>(begin, end));
    if (!removed) co_return fail(removed.error());
  }
  co_return Result<void>();
}

Task<Result<void>> Reconciler::drain(std::stop_token stop) {
  std::vector<OneShot<Result<void>>> scans;
  for (const auto& [id, job] : jobs_) {
    if (!job->due && !job->scanning) continue;
    const OneShot<Result<void>> ended(loop_);
    (job->due ? job->waiters_next : job->waiters).push_back(ended);
    scans.push_back(ended);
    if (job->due) job->wake.set(true);  // not after a backoff: somebody wants to know now
  }
  Result<void> all;
  for (const auto& scan : scans) {
    const std::stop_callback on_stop(
        stop, [scan] { scan.set(fail(Errc::cancelled, "cancelled while waiting for a scan of the input")); });
    const auto ended = co_await scan.wait();
    if (!ended && all) all = fail(ended.error().with("scan"));
  }
  co_return all;
}

Task<void> Reconciler::close() {
  for (const auto& [id, job] : std::exchange(jobs_, {})) {
    job->stop.request_stop();
    job->wake.set(true);
  }
  co_await group_.join();
}

}  // namespace millrace
