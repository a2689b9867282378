#include "engine/run_table.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace millrace {

bool RunTable::queued(LiveRun run) {
  if (active_.contains(run.run_id) || waiting_by_id_.contains(run.run_id)) return false;
  const auto entry = waiting_.insert(waiting_.end(), Waiting{.run = std::move(run)});
  waiting_by_id_.emplace(entry->run.run_id, entry);
  tell(entry->run);
  while (waiting_.size() > queued_max_) erase(waiting_.begin());
  return true;
}

void RunTable::erase(Place waiting) {
  waiting_by_id_.erase(waiting->run.run_id);
  (waiting->cancelled ? cancelled_ : waiting_).erase(waiting);
}

void RunTable::not_queued(const RunId& run_id) {
  const auto found = waiting_by_id_.find(run_id);
  if (found != waiting_by_id_.end() && found->second->run.state == RunState::queued) erase(found->second);
}

void RunTable::forget(const RunId& run_id) {
  const auto found = waiting_by_id_.find(run_id);
  if (found != waiting_by_id_.end()) erase(found->second);
}

void RunTable::forget_waiting(std::string_view topic, std::string_view function) {
  const auto is_gone = [&](const LiveRun& run) {
    return run.topic == topic && (function.empty() || run.function == function);
  };
  for (auto* list : {&waiting_, &cancelled_}) {
    for (auto waiting = list->begin(); waiting != list->end();) {
      const auto next = std::next(waiting);
      if (is_gone(waiting->run)) erase(waiting);
      waiting = next;
    }
  }
  for (const auto& [id, active] : active_) {
    if (is_gone(active->run_)) active->thrown_away_ = true;
  }
}

RunTable::Active::Active(RunTable& table, LiveRun run) : table_(table), run_(std::move(run)) {
  table_.forget(run_.run_id);
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
  if (thrown_away_ && !cancel_.stop_requested()) return;
  (void)table_.queued(run_);
  if (cancel_.stop_requested()) (void)table_.cancel(run_.run_id);  // asked for too late to stop this attempt
}

bool RunTable::cancel(const RunId& run_id) {
  if (const auto found = active_.find(run_id); found != active_.end()) {
    found->second->cancel_.request_stop();
    return true;
  }
  const auto found = waiting_by_id_.find(run_id);
  if (found == waiting_by_id_.end()) return false;
  const Place waiting = found->second;
  if (waiting->cancelled) return true;
  if (cancelled_.size() >= queued_max_) return false;
  waiting->cancelled = true;
  cancelled_.splice(cancelled_.end(), waiting_, waiting);
  return true;
}

bool RunTable::take_cancelled(const RunId& run_id) {
  const auto found = waiting_by_id_.find(run_id);
  if (found == waiting_by_id_.end() || !std::exchange(found->second->cancelled, false)) return false;
  waiting_.splice(waiting_.begin(), cancelled_, found->second);
  return true;
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
  for (const auto* list : {&waiting_, &cancelled_}) {
    for (auto waiting = list->rbegin(); waiting != list->rend() && runs.size() < limit; ++waiting) add(waiting->run);
  }
  if (runs.size() > limit) runs.resize(limit);
  return runs;
}

std::size_t RunTable::waiting_count(std::string_view function) const {
  if (function.empty()) return waiting_by_id_.size();
  return static_cast<std::size_t>(std::ranges::count_if(
      waiting_by_id_, [&](const auto& waiting) { return waiting.second->run.function == function; }));
}

}  // namespace millrace
