#include "engine/sweeper.h"

#include <utility>

#include "async/sleep.h"
#include "core/fail_point.h"
#include "engine/retry_policy.h"

namespace millrace {

Sweeper::Sweeper(EventLoop& loop, StateStore& state, OutputStore& outputs, Finish& finish, const RunTable& runs,
                 std::string node, SweeperOptions options, Log& log)
    : loop_(loop),
      state_(state),
      outputs_(outputs),
      finish_(finish),
      runs_(runs),
      node_(std::move(node)),
      options_(options),
      log_(log) {}

Task<void> Sweeper::drop_own_attempts() {
  for (std::size_t done = 1; done > 0;) done = co_await drop_open_attempts(WallTime::max(), true);
}

Task<void> Sweeper::sweep_own_past(WallTime started) {
  for (bool more = true; more;) more = co_await finish_rows(started);
  co_await drop_stale_directories();
}

Task<void> Sweeper::run(std::stop_token stop) {
  for (;;) {
    const auto slept = co_await sleep_for(loop_, options_.every, stop);
    if (!slept) co_return;
    const auto before = loop_.wall_now() - options_.age_min;
    co_await finish_rows(before);
    co_await drop_open_attempts(before, false);
    co_await drop_stale_directories();
  }
}

// Goes on behind the rows of the call before, so that those that cannot be finished keep no other back.
Task<bool> Sweeper::finish_rows(WallTime before) {
  for (bool tried = false; !tried;) {
    auto rows = co_await state_.runs().unfinished(before, after_, options_.batch);
    if (!rows) {
      log_.warn("sweep failed", {{"error", rows.error()}});
      co_return false;
    }
    std::size_t outputs = 0;  // a page may be short because it is heavy
    for (const auto& row : *rows) outputs += row.outputs.size();
    const bool last = rows->size() < options_.batch && outputs < kListedOutputsMax;
    for (auto& row : *rows) {
      after_ = row.run_id;
      if (unplaceable_.contains(row.run_id)) {
        met_.insert(std::move(row.run_id));
      } else if (!runs_.active(row.run_id)) {
        tried = true;
        co_await finish(std::move(row));
      }
    }
    if (!last) continue;
    after_ = {};
    unplaceable_ = std::exchange(met_, {});
    co_return false;
  }
  co_return true;
}

Task<void> Sweeper::finish(RunRecord row) {
  const RunId run_id = row.run_id;
  const auto finished = co_await finish_.place_and_publish(std::move(row));
  if (!finished) {
    if (is_permanent(finished.error())) met_.insert(run_id);
    log_.warn("run not finished yet", {{"run", run_id.str()}, {"error", finished.error()}});
    co_return;
  }
  MILLRACE_FAIL_POINT(after_sweep_finish);
  log_.info("finished what a crash had left", {{"run", run_id.str()}});
}

Task<std::size_t> Sweeper::drop_open_attempts(WallTime before, bool own_only) {
  auto attempts = co_await state_.runs().open_attempts(before, options_.batch);
  if (!attempts) co_return 0;
  std::size_t done = 0;
  for (auto& attempt : *attempts) {
    if (own_only ? attempt.node != node_ : runs_.active(attempt.run_id)) continue;
    attempt.outcome = AttemptOutcome::lost;
    // A worker that lives and knows nothing of it has not been able to write its end down.
    const bool lives = !own_only && attempt.node == node_;
    attempt.message = lives ? "its end could not be recorded" : "its worker went away";
    // Its run may have ended well since the list was read: then its directory holds what the row names.
    const auto abandoned = co_await state_.runs().abandon_attempt(attempt);
    if (!abandoned || !*abandoned) continue;
    ++done;
    MILLRACE_FAIL_POINT(after_sweep_abandon);
    co_await drop(attempt);
  }
  co_return done;
}

Task<void> Sweeper::drop_stale_directories() {
  const auto attempts = co_await state_.runs().stale_directories(options_.batch);
  if (!attempts) co_return;
  for (const auto& attempt : *attempts) {
    if (!runs_.active(attempt.run_id)) co_await drop(attempt);
  }
}

Task<void> Sweeper::drop(Attempt attempt) {
  const auto removed =
      co_await outputs_.remove_attempt({.bucket = attempt.bucket, .run_id = attempt.run_id, .token = attempt.token});
  if (!removed) {
    log_.warn("attempt directory stays", {{"run", attempt.run_id.str()}, {"error", removed.error()}});
    co_return;
  }
  MILLRACE_FAIL_POINT(after_sweep_remove);
  const auto forgotten = co_await state_.runs().forget_directory(attempt.token);
  if (!forgotten) log_.warn("attempt not forgotten", {{"run", attempt.run_id.str()}, {"error", forgotten.error()}});
  MILLRACE_FAIL_POINT(after_sweep_forget);
}

}  // namespace millrace
