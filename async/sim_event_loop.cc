#include "async/sim_event_loop.h"

#include <cstdlib>
#include <utility>

namespace millrace {

// Shared with the handles, so that one that outlives the loop is harmless.
struct SimEventLoop::Timers {
  using Key = std::pair<TimePoint, std::uint64_t>;
  std::map<Key, Callback> waiting;
  std::uint64_t next = 0;
};

class SimEventLoop::TimerHandle final : public EventLoop::Handle {
 public:
  TimerHandle(std::shared_ptr<Timers> timers, Timers::Key key) : timers_(std::move(timers)), key_(key) {}
  ~TimerHandle() override { timers_->waiting.erase(key_); }

 private:
  std::shared_ptr<Timers> timers_;
  Timers::Key key_;
};

SimEventLoop::SimEventLoop(std::uint64_t seed) : random_(seed), timers_(std::make_shared<Timers>()) {}

SimEventLoop::~SimEventLoop() {
  // Dropping callbacks may drop tasks, whose destructors erase timers: take the containers out first.
  const auto ready = std::exchange(ready_, {});
  const auto waiting = std::exchange(timers_->waiting, {});
}

bool SimEventLoop::run_until_idle(std::uint64_t steps_max) {
  for (std::uint64_t steps = 0; steps < steps_max; ++steps) {
    if (!step() && !next_timer(TimePoint::max())) return true;
  }
  return false;
}

void SimEventLoop::run_for(Duration span) {
  const TimePoint end = now_ + span;
  while (step() || next_timer(end)) {
  }
  now_ = end;
}

std::chrono::system_clock::time_point SimEventLoop::wall_now() const {
  // A fixed, plausible day, so that records of a simulation are repeatable.
  constexpr std::chrono::system_clock::time_point kStart{std::chrono::seconds(1'700'000'000)};
  return kStart +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(now_.time_since_epoch() + wall_offset_);
}

void SimEventLoop::post(Callback callback) {
  ready_.push_back(std::move(callback));
}

std::unique_ptr<EventLoop::Handle> SimEventLoop::start_timer(Duration delay, Callback callback) {
  const Timers::Key key{now_ + std::max(delay, Duration(0)), timers_->next++};
  timers_->waiting.emplace(key, std::move(callback));
  return std::make_unique<TimerHandle>(timers_, key);
}

std::unique_ptr<EventLoop::Handle> SimEventLoop::watch(int, Interest, Callback) {
  std::abort();
}

bool SimEventLoop::step() {
  if (ready_.empty()) return false;
  // Posts of different origins may overtake each other here: what relies on more than it was promised shows.
  const std::size_t pick = random_() % ready_.size();
  std::swap(ready_[pick], ready_.back());
  auto callback = std::move(ready_.back());
  ready_.pop_back();
  callback();
  return true;
}

bool SimEventLoop::next_timer(TimePoint limit) {
  const auto first = timers_->waiting.begin();
  if (first == timers_->waiting.end() || first->first.first > limit) return false;
  now_ = first->first.first;
  auto callback = std::move(first->second);
  timers_->waiting.erase(first);
  callback();
  return true;
}

}  // namespace millrace
