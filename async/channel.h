// Channel<T>: a bounded queue between tasks of one loop. Push waits while it is full, pop while it is empty.
//
//   Channel<Request> requests(loop, 64);
//   auto pushed = co_await requests.push(std::move(request), stop);
//   auto next = co_await requests.pop(stop);       // `unavailable` when closed and drained
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <stop_token>
#include <utility>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "core/error.h"

namespace millrace {

template <class T>
class Channel {
 public:
  Channel(EventLoop& loop, std::size_t capacity) : loop_(loop), room_(loop, capacity) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel() {
    for (const auto& sleeper : sleepers_) sleeper->channel = nullptr;
  }

  // `cancelled` when stopped, `unavailable` when closed.
  [[nodiscard]] Task<Result<void>> push(T item, std::stop_token stop = {}) {
    auto room = co_await room_.acquire(1, stop);
    if (!room) co_return fail(room.error());
    if (closed_) co_return closed_error();
    put({std::move(item), std::move(*room)});
    co_return Result<void>{};
  }

  // False when full or closed.
  [[nodiscard]] bool try_push(T item) {
    if (closed_) return false;
    auto room = room_.try_acquire(1);
    if (!room) return false;
    put({std::move(item), std::move(*room)});
    return true;
  }

  [[nodiscard]] Task<Result<T>> pop(std::stop_token stop = {}) {
    while (items_.empty()) {
      if (closed_) co_return closed_error();
      if (stop.stop_requested()) co_return fail(Errc::cancelled, "cancelled while waiting for an item");
      const auto sleeper = std::make_shared<Sleeper>(this, OneShot<bool>(loop_));
      sleepers_.push_back(sleeper);
      const Bed bed(sleeper);
      const std::stop_callback on_stop(stop, [sleeper] { sleeper->wake.set(false); });
      co_await sleeper->wake.wait();
      sleeper->is_up = true;
    }
    T item = std::move(items_.front().value);
    items_.pop_front();
    wake_one();  // a wake-up that met a stopped sleeper must not be lost for the next one
    co_return item;
  }

  // Nothing goes in any more; what is inside can still be taken.
  void close() {
    closed_ = true;
    for (const auto& sleeper : sleepers_) sleeper->wake.set(true);
  }

  [[nodiscard]] std::size_t size() const { return items_.size(); }

 private:
  struct Item {
    T value;
    Semaphore::Permit room;
  };

  struct Sleeper {
    Channel* channel;  // null once that is gone
    OneShot<bool> wake;
    bool is_up = false;
  };

  // A sleeper's place among the others, as long as the frame that waits exists.
  class Bed {
   public:
    explicit Bed(std::shared_ptr<Sleeper> sleeper) : sleeper_(std::move(sleeper)) {}
    Bed(const Bed&) = delete;
    Bed& operator=(const Bed&) = delete;
    ~Bed() {
      if (sleeper_->channel != nullptr) sleeper_->channel->leave(sleeper_);
    }

   private:
    std::shared_ptr<Sleeper> sleeper_;
  };

  static std::unexpected<Error> closed_error() { return fail(Errc::unavailable, "the channel is closed"); }

  void put(Item item) {
    items_.push_back(std::move(item));
    wake_one();
  }

  void wake_one() {
    if (items_.empty()) return;
    for (const auto& sleeper : sleepers_) {
      if (sleeper->wake.set(true)) return;
    }
  }

  void leave(const std::shared_ptr<Sleeper>& sleeper) {
    sleepers_.erase(std::ranges::find(sleepers_, sleeper));
    if (!sleeper->is_up) wake_one();  // dropped: if it had been woken, somebody else must take its item
  }

  EventLoop& loop_;
  Semaphore room_;  // outlives items_: they hold its permits
  bool closed_ = false;
  std::deque<std::shared_ptr<Sleeper>> sleepers_;
  std::deque<Item> items_;
};

}  // namespace millrace
