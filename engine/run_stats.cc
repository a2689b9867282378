#include "engine/run_stats.h"

#include <algorithm>
#include <vector>

namespace millrace {

void RunStats::run_ended(const LiveRun& run, const RunEnd& end) {
  if (!ends_.contains(run.function) && ends_.size() >= kFunctionsMax) {
    ends_.erase(std::ranges::min_element(ends_, {}, [](const auto& one) { return one.second.back().at; }));
  }
  auto& ends = ends_[run.function];
  ends.push_back({.at = loop_.now(),
                  .succeeded = end.outcome == RunOutcome::succeeded,
                  .wall_us = end.usage.wall_us,
                  .cpu_us = end.usage.cpu_us,
                  .memory_peak_bytes = end.usage.memory_peak_bytes});
  if (ends.size() > kEndsMax) ends.pop_front();
}

Activity RunStats::of(const std::string& function) {
  Activity activity;
  const auto found = ends_.find(function);
  if (found == ends_.end()) return activity;
  auto& ends = found->second;
  const auto now = loop_.now();
  const bool full = ends.size() == kEndsMax;
  while (!ends.empty() && ends.front().at < now - kWindow) ends.pop_front();
  if (ends.empty()) {
    ends_.erase(found);
    return activity;
  }

  // A queue that was full and still is tells of a shorter time than the window.
  const auto since = full && ends.size() == kEndsMax ? ends.front().at : std::max(started_, now - kWindow);
  const double seconds = std::max(std::chrono::duration<double>(now - since).count(), 1.0);
  std::vector<std::uint64_t> wall_us;
  std::uint64_t cpu_us = 0;
  for (const auto& end : ends) {
    if (!end.succeeded) ++activity.unsuccessful;
    if (end.wall_us > 0) wall_us.push_back(end.wall_us);
    cpu_us += end.cpu_us;
    activity.memory_peak_bytes = std::max(activity.memory_peak_bytes, end.memory_peak_bytes);
  }
  activity.ended = ends.size();
  activity.rate_per_s = static_cast<double>(ends.size()) / seconds;
  activity.cpu_cores = static_cast<double>(cpu_us) / 1e6 / seconds;
  if (!wall_us.empty()) {
    std::ranges::sort(wall_us);
    activity.wall_p99_us = wall_us[(wall_us.size() * 99 + 99) / 100 - 1];
  }
  return activity;
}

}  // namespace millrace
