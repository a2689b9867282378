// The loop of one process of the simulation: it can stand still (SIGSTOP, a suspended machine) and die, and has a wall
// clock of its own, while the world around it goes on.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <utility>

#include "async/sim_event_loop.h"

namespace millrace::storm {

class NodeLoop final : public EventLoop {
 public:
  explicit NodeLoop(SimEventLoop& world) : world_(world), gate_(std::make_shared<Gate>()) {}

  // What becomes ready while the process stands still runs when it goes on, in the order in which it became ready.
  void pause() { gate_->paused = true; }
  void resume() {
    gate_->paused = false;
    world_.post([gate = gate_] { gate->run_held(); });
  }
  // Nothing runs here any more.
  void kill() {
    gate_->dead = true;
    const auto held = std::exchange(gate_->held, {});
  }
  [[nodiscard]] bool paused() const { return gate_->paused; }

  // How far people's clock is off.
  void set_wall_clock(Duration off) { offset_ = off; }

  TimePoint now() const override { return world_.now(); }
  // Never the same twice: what is ordered by time must not be ordered by random names instead.
  std::chrono::system_clock::time_point wall_now() const override {
    return world_.wall_now() +
           std::chrono::duration_cast<std::chrono::system_clock::duration>(offset_ + Duration(++reads_));
  }
  void post(Callback callback) override {
    world_.post([gate = gate_, callback = std::move(callback)]() mutable { gate->run(std::move(callback)); });
  }
  std::unique_ptr<Handle> start_timer(Duration delay, Callback callback) override {
    auto timer = std::make_shared<Timer>();
    timer->callback = std::move(callback);
    auto handle = world_.start_timer(delay, [gate = gate_, timer] { gate->run([timer] { timer->fire(); }); });
    return std::make_unique<TimerHandle>(std::move(timer), std::move(handle));
  }
  std::unique_ptr<Handle> watch(int fd, Interest interest, Callback callback) override {
    return world_.watch(fd, interest, std::move(callback));
  }
  bool on_loop_thread() const override { return true; }

 private:
  struct Gate {
    bool paused = false;
    bool dead = false;
    std::deque<Callback> held;

    void run(Callback callback) {
      if (dead) return;
      if (paused || !held.empty()) {
        held.push_back(std::move(callback));
      } else {
        callback();
      }
    }
    void run_held() {
      while (!held.empty() && !paused && !dead) {
        auto callback = std::move(held.front());
        held.pop_front();
        callback();
      }
    }
  };

  struct Timer {
    Callback callback;
    void fire() {
      if (auto call = std::exchange(callback, {})) call();
    }
  };

  class TimerHandle final : public Handle {
   public:
    TimerHandle(std::shared_ptr<Timer> timer, std::unique_ptr<Handle> handle)
        : timer_(std::move(timer)), handle_(std::move(handle)) {}
    TimerHandle(const TimerHandle&) = delete;
    TimerHandle& operator=(const TimerHandle&) = delete;
    ~TimerHandle() override { const auto dropped = std::exchange(timer_->callback, {}); }

   private:
    std::shared_ptr<Timer> timer_;
    std::unique_ptr<Handle> handle_;
  };

  SimEventLoop& world_;
  std::shared_ptr<Gate> gate_;
  Duration offset_{};
  mutable std::int64_t reads_ = 0;
};

}  // namespace millrace::storm
