// How readers of a feed wait for news: until whoever has some sets `waiter`, `patience` is over, or `stop` is
// requested. Threads: the domain loop.
#pragma once

#include <optional>
#include <stop_token>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"

namespace millrace {

// `waiter` must last until this returns, and is empty then.
inline Task<void> wait_for_news(EventLoop& loop, std::optional<OneShot<bool>>& waiter, EventLoop::Duration patience,
                                std::stop_token stop) {
  if (stop.stop_requested()) co_return;
  const OneShot<bool> woken(loop);
  waiter = woken;
  const auto timer = loop.start_timer(patience, [woken] { woken.set(false); });
  const std::stop_callback on_stop(stop, [woken] { woken.set(false); });
  co_await woken.wait();
  waiter.reset();
}

}  // namespace millrace
