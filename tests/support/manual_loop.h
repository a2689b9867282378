// An event loop whose time stands still until the test moves it, while other threads may post: for classes that have a
// thread of their own behind them. (SimEventLoop is for everything that has none.)
//
//   ManualLoop loop;
//   ASSERT_TRUE(loop.run_until([&] { return confirmed; }));   // waits for the thread, not for time
//   loop.advance(30s);                                        // fires the timers on the way
//
// Steps that go on posting and never let it rest end the process, with a word why: a real loop would spin there.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "async/event_loop.h"

namespace millrace {

class ManualLoop final : public EventLoop {
 public:
  ManualLoop();
  ~ManualLoop() override;

  // Runs what is posted and due, and waits for more to be posted, until `done`. False when nothing came for a minute.
  [[nodiscard]] bool run_until(const std::function<bool()>& done);

  // Runs what is posted and due now.
  void run_ready();

  // Moves time, firing the timers in their order.
  void advance(Duration span);

  // Moves people's clock only.
  void jump_wall_clock(Duration by) { wall_offset_ += by; }

  TimePoint now() const override { return now_; }
  std::chrono::system_clock::time_point wall_now() const override;
  void post(Callback callback) override;
  void at_rest(Callback callback) override { at_rest_.push_back(std::move(callback)); }
  std::unique_ptr<Handle> start_timer(Duration delay, Callback callback) override;
  std::unique_ptr<Handle> watch(int fd, Interest interest, Callback callback) override;
  bool on_loop_thread() const override { return std::this_thread::get_id() == thread_; }

 private:
  struct Timers;
  class TimerHandle;

  bool run_step(TimePoint limit);  // false when nothing was ready
  bool run_posted();
  bool come_to_rest();
  bool run_timer(TimePoint limit);

  std::thread::id thread_ = std::this_thread::get_id();
  TimePoint now_{};
  Duration wall_offset_{};
  std::shared_ptr<Timers> timers_;
  std::mutex mutex_;  // guards posted_
  std::condition_variable wake_;
  std::vector<Callback> posted_;
  std::vector<Callback> at_rest_;
};

}  // namespace millrace
