#include "engine/run_table.h"

#include <algorithm>
#include <utility>

namespace millrace {

void RunTable::queued(LiveRun run) {
  if (active_.contains(run.run_id)) return;
  const RunId id = run.run_id;
  const auto [entry, added] = waiting_.try_emplace(id, Waiting{.run = std::move(run)});
  if (!added) return;
  waiting_order_.push_back(id);
  while (waiting_order_.size() > queued_max_) {
    waiting_.erase(waiting_order_.front());
    waiting_order_.pop_front();
  }
}

RunTable::Active::Active(RunTable& table, LiveRun run) : table_(table), run_(std::move(run)) {
  table_.waiting_.erase(run_.run_id);
  table_.active_[run_.run_id] = this;
}

RunTable::Active::~Active() {
  table_.active_.erase(run_.run_id);
  if (keep_) table_.queued(run_);
}

void RunTable::Active::state(RunState state, WallTime now) {
  run_.state = state;
  run_.since = now;
}

void RunTable::Active::counters(std::uint32_t failures, std::uint32_t losses) {
  run_.failures = failures;
  run_.losses = losses;
}

void RunTable::Active::waits_for_retry(WallTime now) {
  state(RunState::waiting_retry, now);
  keep_ = true;
}

bool RunTable::cancel(const RunId& run_id) {
  if (const auto found = active_.find(run_id); found != active_.end()) {
    found->second->cancel_.request_stop();
    return true;
  }
  if (const auto found = waiting_.find(run_id); found != waiting_.end()) {
    found->second.cancelled = true;
    return true;
  }
  return false;
}

bool RunTable::take_cancelled(const RunId& run_id) {
  const auto found = waiting_.find(run_id);
  return found != waiting_.end() && std::exchange(found->second.cancelled, false);
}

std::optional<LiveRun> RunTable::find(const RunId& run_id) const {
  if (const auto found = active_.find(run_id); found != active_.end()) return found->second->run_;
  if (const auto found = waiting_.find(run_id); found != waiting_.end()) return found->second.run;
  return std::nullopt;
}

std::vector<LiveRun> RunTable::list(std::string_view function, std::size_t limit) const {
  std::vector<LiveRun> runs;
  const auto add = [&](const LiveRun& run) {
    if (function.empty() || run.function == function) runs.push_back(run);
  };
  for (const auto& [id, active] : active_) add(active->run_);
  for (auto id = waiting_order_.rbegin(); id != waiting_order_.rend() && runs.size() < limit; ++id) {
    if (const auto found = waiting_.find(*id); found != waiting_.end()) add(found->second.run);
  }
  if (runs.size() > limit) runs.resize(limit);
  return runs;
}

}  // namespace millrace
