#include "engine/retention.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"
#include "core/fail_point.h"
#include "formats/timestamp.h"

namespace millrace {
namespace {

// The times compared are of people's clock, which is set now and then.
constexpr std::chrono::milliseconds kClockMargin = std::chrono::minutes(10);

WallTime settled_before(const NeededRuns& needed) {
  return needed.open_since == WallTime::max() ? WallTime::max() : needed.open_since - kClockMargin;
}

}  // namespace

Retention::Retention(EventLoop& loop, StateStore& state, OutputStore& outputs, Broker& broker, const RunTable& runs,
                     RetentionOptions options, Log& log, Metrics& metrics)
    : loop_(loop),
      records_(state.runs()),
      outputs_(outputs),
      broker_(broker),
      runs_(runs),
      options_(options),
      log_(log),
      removed_runs_(metrics.counter("millrace_retention_removed_total", "records that were removed for their age",
                                    {{"what", "run"}})),
      removed_attempts_(metrics.counter("millrace_retention_removed_total", "records that were removed for their age",
                                        {{"what", "attempt"}})),
      held_(metrics.gauge("millrace_retention_held_runs",
                          "records older than they need to be that somebody may still ask for, at the last look")) {}

Task<void> Retention::run(std::stop_token stop) {
  for (;;) {
    Result<void> passed;
    if (!options_.is_ours || options_.is_ours()) passed = co_await pass(stop);
    if (!passed) log_.warn("old records stay for now", {{"error", passed.error()}});
    const auto slept = co_await sleep_for(loop_, options_.every, stop);
    if (!slept) co_return;
  }
}

Task<Result<void>> Retention::pass(std::stop_token stop) {
  const auto old = co_await old_before();
  if (!old) co_return fail(old.error());
  const auto needed = co_await needed_runs(loop_, broker_);
  if (!needed) co_return fail(needed.error());
  const WallTime settled = settled_before(*needed);
  say_who_waits(*needed, settled, *old);
  const WallTime before = std::min(*old, settled);

  Removed removed;
  auto done = co_await remove_runs(before, *needed, stop, removed);
  if (done) done = co_await remove_attempts(before, stop, removed);
  held_.set(static_cast<std::int64_t>(removed.held));
  removed_runs_.add(removed.runs);
  removed_attempts_.add(removed.attempts);
  if (removed.runs + removed.attempts > 0) {
    log_.info("old records removed",
              {{"runs", removed.runs}, {"lone_attempts", removed.attempts}, {"held", removed.held}});
  }
  co_return done;
}

Task<Result<WallTime>> Retention::old_before() {
  const WallTime now = loop_.wall_now();
  const auto too_many = co_await records_.committed_before_last(options_.runs_max);
  if (!too_many) co_return fail(too_many.error());
  WallTime before = now - options_.keep;
  if (*too_many) before = std::max(before, **too_many);
  co_return std::min(before, now - kRunsKeptMin);
}

Task<Result<void>> Retention::remove_runs(WallTime before, const NeededRuns& needed, std::stop_token stop,
                                          Removed& removed) {
  RunId after;  // the last one that stays
  std::size_t removed_before = removed.runs;
  while (!stop.stop_requested()) {
    const auto page = co_await records_.removable(before, after, options_.batch);
    if (!page) co_return fail(page.error());
    auto gone = co_await drop_directories(*page, needed);
    removed.held += page->size() - gone.size();
    for (const auto& old : *page) {
      if (std::ranges::find(gone, old.run_id) == gone.end()) after = old.run_id;
    }
    if (!gone.empty()) {
      const std::size_t wanted = gone.size();
      const auto count = co_await records_.remove(std::move(gone));
      if (!count) co_return fail(count.error());
      MILLRACE_FAIL_POINT(after_retention_remove);
      removed.runs += *count;
      if (*count < wanted) break;  // one is begun anew
    }
    if (page->size() == options_.batch) continue;
    if (removed.runs == removed_before) break;
    // From the start: the generation before one that is gone may go, too.
    removed_before = removed.runs;
    removed.held = 0;
    after = {};
  }
  co_return Result<void>{};
}

Task<std::vector<RunId>> Retention::drop_directories(const std::vector<OldRun>& page, const NeededRuns& needed) {
  std::vector<RunId> gone;
  for (const auto& old : page) {
    if (runs_.active(old.run_id) || needed.by_dead_letter(old)) continue;
    if (!old.token.empty()) {
      const auto removed =
          co_await outputs_.remove_attempt({.bucket = old.bucket, .run_id = old.run_id, .token = old.token});
      if (!removed) {
        log_.warn("old record stays: its directory cannot be removed",
                  {{"run", old.run_id.str()}, {"error", removed.error()}});
        continue;
      }
      MILLRACE_FAIL_POINT(after_retention_directory);
    }
    gone.push_back(old.run_id);
  }
  co_return gone;
}

Task<Result<void>> Retention::remove_attempts(WallTime before, std::stop_token stop, Removed& removed) {
  while (!stop.stop_requested()) {
    const auto count = co_await records_.remove_lone_attempts(before, options_.batch);
    if (!count) co_return fail(count.error());
    removed.attempts += *count;
    if (*count < options_.batch) break;
  }
  co_return Result<void>{};
}

// Once for each topic: it may be so for long.
void Retention::say_who_waits(const NeededRuns& needed, WallTime settled, WallTime old) {
  const bool waits = settled < old;
  const std::string topic = waits ? needed.open_topic : std::string();
  if (waits && topic != waits_in_) {
    log_.warn("old records are kept for an event that has not been worked on since",
              {{"topic", topic}, {"published", format_timestamp(needed.open_since)}});
  }
  waits_in_ = topic;
}

}  // namespace millrace
