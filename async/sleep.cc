#include "async/sleep.h"

#include "async/one_shot.h"

namespace millrace {
namespace {

// What a stop callback does for a waiter: the answer is "cancelled".
struct Cancel {
  OneShot<Result<void>> done;
  void operator()() const { done.set(fail(Errc::cancelled, "cancelled")); }
};

}  // namespace

Task<Result<void>> sleep_for(EventLoop& loop, EventLoop::Duration delay, std::stop_token stop) {
  OneShot<Result<void>> done(loop);
  const auto timer = loop.start_timer(delay, [done] { done.set({}); });
  const std::stop_callback on_stop(stop, Cancel{done});
  auto result = co_await done.wait();
  co_return result;
}

Task<Result<void>> wait_ready(EventLoop& loop, int fd, EventLoop::Interest interest, std::stop_token stop) {
  OneShot<Result<void>> done(loop);
  const auto watch = loop.watch(fd, interest, [done] { done.set({}); });
  const std::stop_callback on_stop(stop, Cancel{done});
  auto result = co_await done.wait();
  co_return result;
}

Task<void> yield(EventLoop& loop) {
  OneShot<bool> turn(loop);
  loop.post([turn] { turn.set(true); });
  co_await turn.wait();
}

Deadline::Deadline(EventLoop& loop, EventLoop::Duration limit, std::stop_token parent)
    : parent_(parent, Forward{&source_}), timer_(loop.start_timer(limit, [this] {
        expired_ = true;
        source_.request_stop();
      })) {}

}  // namespace millrace
