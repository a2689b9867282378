#include "engine/run_table.h"

#include <algorithm>
#include <utility>

namespace millrace {

bool RunTable::queued(LiveRun run) {
  if (active_.contains(run.run_id) || waiting_by_id_.contains(run.run_id)) return false;
  const auto entry = waiting_.insert(waiting_.end(), Waiting{.run = std::move(run)});
  waiting_by_id_.emplace(entry->run.run_id, entry);
  tell(entry->run);
  if (waiting_.size() > queued_max_) {
    waiting_by_id_.erase(waiting_.front().run.run_id);
    waiting_.pop_front();
  }
  return true;
}

void RunTable::not_queued(const RunId& run_id) {
  const auto found = waiting_by_id_.find(run_id);
  if (found == waiting_by_id_.end() || found->second->run.state != RunState::queued) return;
  waiting_.erase(found->second);
  waiting_by_id_.erase(found);
}

void RunTable::forget(const RunId& run_id) {
  const auto found = waiting_by_id_.find(run_id);
  if (found == waiting_by_id_.end()) return;
  waiting_.erase(found->second);
  waiting_by_id_.erase(found);
}

RunTable::Active::Active(RunTable& table, LiveRun run) : table_(table), run_(std::move(run)) {
  if (const auto found = table_.waiting_by_id_.find(run_.run_id); found != table_.waiting_by_id_.end()) {
    table_.waiting_.erase(found->second);
    table_.waiting_by_id_.erase(found);
  }
  table_.active_[run_.run_id] = this;
  table_.tell(run_);
}

RunTable::Active::~Active() {
  if (over_) return;
  table_.active_.erase(run_.run_id);
  if (!end_) return;
  run_.state = RunState::done;
  for (RunListener* listener : table_.listeners_) listener->run_ended(run_, *end_);
}

void RunTable::tell(const LiveRun& run) const {
  for (RunListener* listener : listeners_) listener->run_changed(run);
}

void RunTable::Active::state(RunState state, WallTime now) {
  run_.state = state;
  run_.since = now;
  if (state != RunState::waiting_retry) table_.tell(run_);  // this one is told when it is in the table
}

void RunTable::Active::counters(std::uint32_t failures, std::uint32_t losses) {
  run_.failures = failures;
  run_.losses = losses;
}

void RunTable::Active::waits_for_retry(WallTime now) {
  state(RunState::waiting_retry, now);
  over_ = true;
  table_.active_.erase(run_.run_id);
  (void)table_.queued(run_);
  if (cancel_.stop_requested()) (void)table_.cancel(run_.run_id);  // asked for too late to stop this attempt
}

bool RunTable::cancel(const RunId& run_id) {
  if (const auto found = active_.find(run_id); found != active_.end()) {
    found->second->cancel_.request_stop();
    return true;
  }
  if (const auto found = waiting_by_id_.find(run_id); found != waiting_by_id_.end()) {
    found->second->cancelled = true;
    return true;
  }
  return false;
}

bool RunTable::take_cancelled(const RunId& run_id) {
  const auto found = waiting_by_id_.find(run_id);
  return found != waiting_by_id_.end() && std::exchange(found->second->cancelled, false);
}

std::optional<LiveRun> RunTable::find(const RunId& run_id) const {
  if (const auto found = active_.find(run_id); found != active_.end()) return found->second->run_;
  if (const auto found = waiting_by_id_.find(run_id); found != waiting_by_id_.end()) {
    return found->second->run;
  }
  return std::nullopt;
}

std::vector<LiveRun> RunTable::list(std::string_view function, std::size_t limit) const {
  std::vector<LiveRun> runs;
  const auto add = [&](const LiveRun& run) {
    if (function.empty() || run.function == function) runs.push_back(run);
  };
  for (const auto& [id, active] : active_) add(active->run_);
  for (auto waiting = waiting_.rbegin(); waiting != waiting_.rend() && runs.size() < limit; ++waiting) {
    add(waiting->run);
  }
  if (runs.size() > limit) runs.resize(limit);
  return runs;
}

}  // namespace millrace
