#include "engine/sweeper.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"
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

Task<void> Sweeper::sweep_own_past(WallTime started) {
  for (std::size_t done = 1; done > 0;) done = co_await drop_open_attempts(started, true);
  for (std::size_t done = 1; done > 0;) done = co_await finish_rows(started);
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

Task<std::size_t> Sweeper::finish_rows(WallTime before) {
  // The oldest come first: those that are passed over must not fill the answer.
  auto rows = co_await state_.runs().unfinished(before, std::min(options_.batch + unplaceable_.size(), kRunListMax));
  if (!rows) {
    log_.warn("sweep failed", {{"error", rows.error()}});
    co_return 0;
  }
  std::size_t done = 0;
  const std::set<RunId> passed_over = std::exchange(unplaceable_, {});
  for (auto& row : *rows) {
    const RunId run_id = row.run_id;
    if (passed_over.contains(run_id)) {
      unplaceable_.insert(run_id);
      continue;
    }
    if (runs_.active(run_id)) continue;
    const auto finished = co_await finish_.place_and_publish(std::move(row));
    if (!finished && is_permanent(finished.error())) unplaceable_.insert(run_id);
    if (finished) {
      ++done;
      log_.info("finished what a crash had left", {{"run", run_id.str()}});
    } else {
      log_.warn("run not finished yet", {{"run", run_id.str()}, {"error", finished.error()}});
    }
  }
  co_return done;
}

Task<std::size_t> Sweeper::drop_open_attempts(WallTime before, bool own_only) {
  auto attempts = co_await state_.runs().open_attempts(before, options_.batch);
  if (!attempts) co_return 0;
  std::size_t done = 0;
  for (auto& attempt : *attempts) {
    // At start our own attempts are over even if their run has begun anew already.
    if (own_only ? attempt.node != node_ : runs_.active(attempt.run_id)) continue;
    attempt.outcome = AttemptOutcome::lost;
    attempt.message = "its worker went away";
    // Its run may have ended well since the list was read: then its directory holds what the row names.
    const auto abandoned = co_await state_.runs().abandon_attempt(attempt);
    if (!abandoned || !*abandoned) continue;
    ++done;
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
  const auto forgotten = co_await state_.runs().forget_directory(attempt.token);
  if (!forgotten) log_.warn("attempt not forgotten", {{"run", attempt.run_id.str()}, {"error", forgotten.error()}});
}

}  // namespace millrace
