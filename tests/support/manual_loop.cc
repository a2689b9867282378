#include "tests/support/manual_loop.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace millrace {

// Shared with the handles, so that one that outlives the loop is harmless.
struct ManualLoop::Timers {
  using Key = std::pair<TimePoint, std::uint64_t>;
  std::map<Key, Callback> waiting;
  std::uint64_t next = 0;
};

class ManualLoop::TimerHandle final : public EventLoop::Handle {
 public:
  TimerHandle(std::shared_ptr<Timers> timers, Timers::Key key) : timers_(std::move(timers)), key_(key) {}
  ~TimerHandle() override { timers_->waiting.erase(key_); }

 private:
  std::shared_ptr<Timers> timers_;
  Timers::Key key_;
};

ManualLoop::ManualLoop() : timers_(std::make_shared<Timers>()) {}

ManualLoop::~ManualLoop() {
  const auto posted = std::exchange(posted_, {});
  const auto at_rest = std::exchange(at_rest_, {});
  const auto waiting = std::exchange(timers_->waiting, {});
}

bool ManualLoop::run_until(const std::function<bool()>& done) {
  for (;;) {
    run_ready();
    if (done()) return true;
    std::unique_lock lock(mutex_);
    constexpr auto kHangGuard = std::chrono::minutes(1);
    if (!wake_.wait_for(lock, kHangGuard, [&] { return !posted_.empty(); })) return false;
  }
}

void ManualLoop::run_ready() {
  while (run_step(now_)) {
  }
}

void ManualLoop::advance(Duration span) {
  const TimePoint end = now_ + span;
  while (run_step(end)) {
  }
  now_ = end;
  run_ready();
}

std::chrono::system_clock::time_point ManualLoop::wall_now() const {
  constexpr std::chrono::system_clock::time_point kStart{std::chrono::seconds(1'700'000'000)};
  return kStart +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(now_.time_since_epoch() + wall_offset_);
}

void ManualLoop::post(Callback callback) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(callback));
  }
  wake_.notify_one();
}

std::unique_ptr<EventLoop::Handle> ManualLoop::start_timer(Duration delay, Callback callback) {
  const Timers::Key key{now_ + std::max(delay, Duration(0)), timers_->next++};
  timers_->waiting.emplace(key, std::move(callback));
  return std::make_unique<TimerHandle>(timers_, key);
}

std::unique_ptr<EventLoop::Handle> ManualLoop::watch(int, Interest, Callback) {
  std::abort();
}

bool ManualLoop::run_step(TimePoint limit) {
  constexpr int kStepsMax = 1'000'000;  // a test takes some thousands
  int steps = 0;
  while (run_posted()) {
    if (++steps < kStepsMax) continue;
    std::fputs("ManualLoop: a million steps, each posted by the one before, and no rest\n", stderr);
    std::abort();
  }
  return come_to_rest() || run_timer(limit) || steps > 0;
}

bool ManualLoop::come_to_rest() {
  auto batch = std::exchange(at_rest_, {});
  for (auto& callback : batch) callback();
  return !batch.empty();
}

bool ManualLoop::run_posted() {
  std::vector<Callback> batch;
  {
    const std::lock_guard lock(mutex_);
    batch.swap(posted_);
  }
  for (auto& callback : batch) callback();
  return !batch.empty();
}

bool ManualLoop::run_timer(TimePoint limit) {
  const auto first = timers_->waiting.begin();
  if (first == timers_->waiting.end() || first->first.first > limit) return false;
  now_ = std::max(now_, first->first.first);
  auto callback = std::move(first->second);
  timers_->waiting.erase(first);
  callback();
  return true;
}

}  // namespace millrace
