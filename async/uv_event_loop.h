// The real event loop, on libuv. One per thread: the domain loop and each io thread have their own.
//
//   UvEventLoop loop;
//   group.spawn(serve(loop));
//   loop.run();          // until stop()
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "async/event_loop.h"

struct uv_loop_s;

namespace millrace {

class UvEventLoop final : public EventLoop {
 public:
  UvEventLoop();
  ~UvEventLoop() override;  // after run() has returned and every handle is gone

  // Runs callbacks on the calling thread until stop(). Whoever calls run() is the loop's thread; before that, it is the
  // thread that made the loop.
  void run();

  // Makes run() return after the current turn. Any thread.
  void stop();

  TimePoint now() const override;
  std::chrono::system_clock::time_point wall_now() const override;
  void post(Callback callback) override;
  void at_rest(Callback callback) override;
  std::unique_ptr<Handle> start_timer(Duration delay, Callback callback) override;
  std::unique_ptr<Handle> watch(int fd, Interest interest, Callback callback) override;
  bool on_loop_thread() const override;

  // For net/, the only folder outside async/ that knows libuv.
  [[nodiscard]] uv_loop_s* native() const { return loop_.get(); }

 private:
  struct Native;
  struct NativeDeleter {
    void operator()(uv_loop_s* loop) const;
  };

  void run_posted();
  void wake();  // ends the poll; any thread

  std::unique_ptr<uv_loop_s, NativeDeleter> loop_;
  std::unique_ptr<Native> native_;
  std::atomic<std::thread::id> thread_;
  std::mutex mutex_;  // guards inbox_, stopping_ and draining_
  std::vector<Callback> inbox_;
  bool stopping_ = false;
  bool draining_ = false;          // the inbox will be looked at once more in this turn
  std::vector<Callback> running_;  // the batch being run; reused to keep its memory
  std::vector<Callback> at_rest_;  // the loop's own: not guarded
};

}  // namespace millrace
