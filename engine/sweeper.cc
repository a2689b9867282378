#include "engine/sweeper.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <utility>

#include "async/sleep.h"
#include "core/fail_point.h"
#include "engine/retry_policy.h"

namespace millrace {
namespace {

constexpr std::chrono::minutes kWalkAgainAfter{10};  // where a store did not answer
constexpr std::size_t kLeftMax = 1000;

}  // namespace

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
  co_await drop_open_attempts(WallTime::max(), true);
}

Task<void> Sweeper::sweep_own_past(WallTime started) {
  for (bool more = true; more;) more = co_await finish_rows(started, true);
  co_await drop_stale_directories();
}

Task<void> Sweeper::run(std::stop_token stop) {
  // What lies there now is old enough by then, here and at others.
  std::optional walk_at(loop_.now() + (options_.alone ? EventLoop::Duration(0) : options_.age_min));
  for (;;) {
    if (walk_at && *walk_at <= loop_.now()) {
      const bool walked = co_await drop_unclaimed_directories(stop);
      walk_at = walked ? std::nullopt : std::optional(loop_.now() + kWalkAgainAfter);
    }
    co_await drop_left();
    if (!doubtful_.empty()) {
      auto doubtful = std::exchange(doubtful_, {});
      const auto gone = co_await drop_unclaimed(doubtful);
      if (!gone) doubtful_ = std::move(doubtful);
    }
    const auto slept = co_await sleep_for(loop_, options_.every, stop);
    if (!slept) co_return;
    // Of the dead nothing is too young; of this node, see is_ours().
    const auto before = nodes_ != nullptr ? loop_.wall_now() : loop_.wall_now() - options_.age_min;
    co_await finish_rows(before, false);
    co_await drop_open_attempts(before, false);
    co_await drop_stale_directories();
  }
}

void Sweeper::left(AttemptPlace place) {
  if (left_.size() < kLeftMax) left_.push_back(std::move(place));  // the walk at the next start finds the others
}

Task<void> Sweeper::drop_left() {
  for (auto& place : std::exchange(left_, {})) {
    const auto removed = co_await outputs_.remove_attempt(place);
    if (!removed) left(std::move(place));
  }
}

bool Sweeper::is_old(WallTime then) const {
  return then < loop_.wall_now() - options_.age_min;
}

bool Sweeper::is_ours(const std::string& node, WallTime then, const Nodes::Living* living) const {
  if (living == nullptr) return true;
  if (node == node_) return is_old(then);
  return living->first && !living->names.contains(node);
}

// Who lives, asked after the list was read: whoever began something on it lived then, and if he does not now, he is
// dead. At the start everything of this node's is of an earlier life.
// Goes on behind the rows of the call before, so that those that cannot be finished keep no other back.
Task<bool> Sweeper::finish_rows(WallTime before, bool own_only) {
  for (bool tried = false; !tried;) {
    auto rows = co_await state_.runs().unfinished(before, after_, options_.batch);
    if (!rows) {
      log_.warn("sweep failed", {{"error", rows.error()}});
      co_return false;
    }
    Result<Nodes::Living> living;
    if (nodes_ != nullptr) living = co_await nodes_->living();
    if (!living) co_return false;
    std::size_t outputs = 0;  // a page may be short because it is heavy
    for (const auto& row : *rows) outputs += row.outputs.size();
    const bool last = rows->size() < options_.batch && outputs < kListedOutputsMax;
    for (auto& row : *rows) {
      after_ = row.run_id;
      const auto* others = nodes_ != nullptr ? &*living : nullptr;
      const bool ours = own_only && others != nullptr ? row.node == node_ : is_ours(row.node, row.committed_at, others);
      if (!ours) continue;
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

Task<void> Sweeper::drop_open_attempts(WallTime before, bool own_only) {
  AttemptToken after;
  for (std::size_t listed = options_.batch; listed == options_.batch;) {
    auto attempts = co_await state_.runs().open_attempts(before, after, options_.batch);
    if (!attempts) co_return;
    Result<Nodes::Living> living;
    if (nodes_ != nullptr) living = co_await nodes_->living();
    if (!living) co_return;
    listed = attempts->size();
    for (auto& attempt : *attempts) {
      after = attempt.token;
      co_await drop_if_nobodys(std::move(attempt), own_only, nodes_ != nullptr ? &*living : nullptr);
    }
  }
}

Task<void> Sweeper::drop_if_nobodys(Attempt attempt, bool own_only, const Nodes::Living* living) {
  const bool ours = own_only ? attempt.node == node_ : is_ours(attempt.node, attempt.started_at, living);
  if (!ours || (!own_only && runs_.active(attempt.run_id))) co_return;
  attempt.outcome = AttemptOutcome::lost;
  // A worker that lives and knows nothing of it has not been able to write its end down.
  const bool lives = !own_only && attempt.node == node_;
  attempt.message = lives ? "its end could not be recorded" : "its worker went away";
  // Its run may have ended well since the list was read: then its directory holds what the row names.
  const auto abandoned = co_await state_.runs().abandon_attempt(attempt);
  if (!abandoned || !*abandoned) co_return;
  MILLRACE_FAIL_POINT(after_sweep_abandon);
  co_await drop(std::move(attempt));
}

// Of all nodes: those of the living are theirs to remove, and where they cannot, anybody may.
Task<void> Sweeper::drop_stale_directories() {
  const auto attempts = co_await state_.runs().stale_directories(options_.batch);
  if (!attempts) co_return;
  for (const auto& attempt : *attempts) {
    const bool in_hand = nodes_ != nullptr && attempt.node != node_ && !is_old(attempt.ended_at);
    if (!in_hand && !runs_.active(attempt.run_id)) co_await drop(attempt);
  }
}

// Several stores' runs may share a bucket: of the others' we know nothing.
Task<bool> Sweeper::drop_unclaimed_directories(std::stop_token stop) {
  std::size_t dropped = 0;
  AttemptPlace after;
  while (!stop.stop_requested()) {
    auto page = co_await outputs_.attempts(after, options_.batch);
    if (!page) {
      log_.warn("attempts' directories not looked through", {{"error", page.error()}});
      co_return false;
    }
    if (page->empty()) break;
    after = page->back().place;
    std::erase_if(*page, [this](const auto& found) { return !found.place.token.str().starts_with(state_.id()); });
    const auto gone = co_await drop_unclaimed(std::move(*page));
    if (!gone) co_return false;
    dropped += *gone;
  }
  if (dropped > 0) log_.info("removed directories that no record claims", {{"directories", dropped}});
  co_return true;
}

// Who may be at work in them is told before the rows are asked: a run that ends meanwhile has a row that was not asked
// for.
Task<Result<std::size_t>> Sweeper::drop_unclaimed(std::vector<FoundAttempt> found) {
  std::set<AttemptToken> in_hand;
  for (const auto& [place, changed_at] : found) {
    if (runs_.active(place.run_id) || (!options_.alone && !is_old(changed_at))) in_hand.insert(place.token);
  }
  std::size_t dropped = 0;
  for (std::size_t begin = 0; begin < found.size(); begin += kRunListMax) {
    const std::span chunk(found.begin() + static_cast<std::ptrdiff_t>(begin),
                          std::min(kRunListMax, found.size() - begin));
    std::vector<AttemptToken> tokens;
    for (const auto& each : chunk) tokens.push_back(each.place.token);
    const auto unclaimed = co_await state_.runs().unclaimed_directories(std::move(tokens));
    if (!unclaimed) {
      log_.warn("attempts' directories not looked through", {{"error", unclaimed.error()}});
      co_return fail(unclaimed.error());
    }
    const std::set<AttemptToken> nobodys(unclaimed->begin(), unclaimed->end());
    for (const auto& each : chunk) {
      const AttemptToken& token = each.place.token;
      if (!nobodys.contains(token)) continue;
      if (in_hand.contains(token)) {
        if (doubtful_.size() < kLeftMax) doubtful_.push_back(each);
        continue;
      }
      const auto removed = co_await outputs_.remove_attempt(each.place);
      if (!removed) left(each.place);
      if (removed) ++dropped;
    }
  }
  co_return dropped;
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
