#include "engine/sweeper.h"

#include <utility>

#include "async/sleep.h"

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
  co_await finish_rows(started);
  co_await drop_open_attempts(started, true);
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

Task<void> Sweeper::finish_rows(WallTime before) {
  auto rows = co_await state_.runs().unfinished(before, options_.batch);
  if (!rows) {
    log_.warn("sweep failed", {{"error", rows.error()}});
    co_return;
  }
  for (auto& row : *rows) {
    if (runs_.active(row.run_id)) continue;
    const RunId run_id = row.run_id;
    const auto finished = co_await finish_.place_and_publish(std::move(row));
    if (finished) {
      log_.info("finished what a crash had left", {{"run", run_id.str()}});
    } else {
      log_.warn("run not finished yet", {{"run", run_id.str()}, {"error", finished.error()}});
    }
  }
}

Task<void> Sweeper::drop_open_attempts(WallTime before, bool own_only) {
  auto attempts = co_await state_.runs().open_attempts(before, options_.batch);
  if (!attempts) co_return;
  for (auto& attempt : *attempts) {
    if (runs_.active(attempt.run_id) || (own_only && attempt.node != node_)) continue;
    attempt.outcome = AttemptOutcome::lost;
    attempt.message = "its worker went away";
    const auto ended = co_await state_.runs().end_attempt(attempt);
    if (ended) co_await drop(attempt);
  }
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
