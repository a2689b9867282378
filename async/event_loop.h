// The event loop port: time, timers, descriptors, and the one door for other threads.
//
//   loop.post([this] { finish(); });                         // from any thread
//   timer_ = loop.start_timer(5s, [this] { expire(); });     // fires once unless timer_ is destroyed first
//   loop.at_rest([this] { hand_over(); });                   // once, when all that is ready now has run
//
// Everything but post() is called on the loop's thread, and every callback runs there. Callbacks never run inside the
// call that registers them. Implementations: UvEventLoop (real), SimEventLoop (virtual time, seeded order).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace millrace {

class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using TimePoint = Clock::time_point;
  using Duration = std::chrono::nanoseconds;
  using Callback = std::move_only_function<void()>;

  // A registration; destroying it takes the callback back. Destroy it on the loop, and before the loop.
  class Handle {
   public:
    Handle() = default;
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    virtual ~Handle() = default;
  };

  enum class Interest : std::uint8_t { readable, writable };

  virtual ~EventLoop() = default;

  // Monotonic; leases and deadlines use this. Constant within one turn of the loop.
  [[nodiscard]] virtual TimePoint now() const = 0;

  // What people's clocks say; for timestamps in records only, since it can jump.
  [[nodiscard]] virtual std::chrono::system_clock::time_point wall_now() const = 0;

  // Runs `callback` on the loop in a later step. Any thread. No order between two posts is promised (the simulation
  // shuffles them). After the loop has stopped, callbacks are destroyed without running.
  virtual void post(Callback callback) = 0;

  // Runs `callback` in a later step, on a real loop the last before it waits: for what is done once for all that is
  // ready now, such as handing it to a thread, which then takes the processor. The loop's thread only.
  virtual void at_rest(Callback callback) { post(std::move(callback)); }

  // Runs `callback` once, not earlier than `delay` from now (0 or negative: in the next turn).
  [[nodiscard]] virtual std::unique_ptr<Handle> start_timer(Duration delay, Callback callback) = 0;

  // Runs `callback` each time `fd` is ready (level-triggered), also on error and hang-up, until the handle is
  // destroyed, which must happen before the descriptor is closed. One watch per descriptor.
  [[nodiscard]] virtual std::unique_ptr<Handle> watch(int fd, Interest interest, Callback callback) = 0;

  [[nodiscard]] virtual bool on_loop_thread() const = 0;
};

}  // namespace millrace
