#include "engine/live_logs.h"

#include <algorithm>
#include <utility>

namespace millrace {

void LiveLog::append(std::string_view bytes) {
  total_ += bytes.size();
  if (bytes.size() >= kKeptBytes) {
    kept_.assign(bytes.substr(bytes.size() - kKeptBytes));
  } else {
    kept_ += bytes;
    // Not at every byte: moving the rest is dear.
    if (kept_.size() > 2 * kKeptBytes) kept_.erase(0, kept_.size() - kKeptBytes);
  }
  wake();
}

void LiveLog::end() {
  over_ = true;
  wake();
}

void LiveLog::wake() {
  for (const auto& waiter : std::exchange(waiters_, {})) waiter.set(true);
}

std::shared_ptr<LiveLog> LiveLogs::open(const RunId& run_id, const AttemptToken& token) {
  if (logs_.size() >= sweep_at_) {
    std::erase_if(logs_, [](const auto& entry) { return entry.second.expired(); });
    sweep_at_ = 2 * logs_.size() + 256;
  }
  auto log = std::make_shared<LiveLog>(token);
  logs_[run_id] = log;
  return log;
}

std::shared_ptr<LiveLog> LiveLogs::find(const RunId& run_id) {
  const auto found = logs_.find(run_id);
  if (found == logs_.end()) return nullptr;
  auto log = found->second.lock();
  if (!log || log->over_) return nullptr;
  return log;
}

Task<Result<LiveLogs::Piece>> LiveLogs::next(std::shared_ptr<LiveLog> log, std::uint64_t from,
                                             EventLoop::Duration patience, std::stop_token stop) {
  if (log->total_ <= from && !log->over_ && !stop.stop_requested()) {
    const OneShot<bool> woken(loop_);
    log->waiters_.push_back(woken);
    const auto timer = loop_.start_timer(patience, [woken] { woken.set(false); });
    const std::stop_callback on_stop(stop, [woken] { woken.set(false); });
    co_await woken.wait();
    std::erase_if(log->waiters_, [](const OneShot<bool>& waiter) { return waiter.is_set(); });
  }
  if (stop.stop_requested()) co_return fail(Errc::cancelled, "cancelled");
  const std::uint64_t first_kept = log->total_ - log->kept_.size();
  const std::uint64_t start = std::max(from, first_kept);
  Piece piece;
  piece.skipped = start - std::min(from, start);
  piece.next = std::max(start, log->total_);
  piece.over = log->over_;
  if (start < log->total_) piece.bytes = log->kept_.substr(static_cast<std::size_t>(start - first_kept));
  co_return piece;
}

}  // namespace millrace
