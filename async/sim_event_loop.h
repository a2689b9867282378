// An event loop with virtual time and a seeded order, for tests and the simulation: nothing ever waits, timers fire in
// the order of their due time, and among callbacks that are ready together the seed decides.
//
//   SimEventLoop loop(seed);
//   group.spawn(scenario(loop));
//   loop.run_until_idle();        // time jumps to the next timer whenever nothing is ready
//
// Single-threaded: post() from another thread is not possible here. watch() is not either: simulated parts have no
// descriptors.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "async/event_loop.h"

namespace millrace {

class SimEventLoop final : public EventLoop {
 public:
  explicit SimEventLoop(std::uint64_t seed = 1);
  ~SimEventLoop() override;

  // Runs until nothing is posted and no timer is left. `steps_max` bounds a scenario that never ends: false then.
  [[nodiscard]] bool run_until_idle(std::uint64_t steps_max = 10'000'000);

  // Runs what becomes ready within `span` of virtual time; time ends exactly there.
  void run_for(Duration span);

  // Moves people's clock, not the monotonic one.
  void jump_wall_clock(Duration by) { wall_offset_ += by; }

  TimePoint now() const override { return now_; }
  std::chrono::system_clock::time_point wall_now() const override;
  void post(Callback callback) override;
  std::unique_ptr<Handle> start_timer(Duration delay, Callback callback) override;
  std::unique_ptr<Handle> watch(int fd, Interest interest, Callback callback) override;
  bool on_loop_thread() const override { return true; }

 private:
  struct Timers;
  class TimerHandle;

  bool step();  // one ready callback; false when none
  bool next_timer(TimePoint limit);

  TimePoint now_{};
  Duration wall_offset_{};
  std::mt19937_64 random_;
  std::vector<Callback> ready_;
  std::shared_ptr<Timers> timers_;
};

}  // namespace millrace
