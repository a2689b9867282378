// Threads for system calls that block (fsync, large copies, getaddrinfo), so that no loop ever does.
//
//   auto bytes = co_await pool.run([path] { return read_file(path); });     // a Result from the thread
//
// One pool belongs to one loop: run() is called there and resumes there. Work is queued without limit of its own; at
// most `queued_max` calls are admitted, further ones wait in run(). The function owns what it needs: if the waiting
// task is dropped, it still runs to its end, holds its place among those admitted until then, and its result is thrown
// away.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/semaphore.h"
#include "async/task.h"

namespace millrace {

class BlockingPool {
 public:
  struct Options {
    std::size_t threads = 4;
    std::size_t queued_max = 1024;
  };

  BlockingPool(EventLoop& loop, Options options);
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;
  ~BlockingPool();  // finishes what is queued

  // Runs `function()` on a thread of the pool; its value must be movable. Exceptions end the process.
  template <class Function>
  [[nodiscard]] Task<std::invoke_result_t<Function&>> run(Function function) {
    using Value = std::invoke_result_t<Function&>;
    static_assert(!std::is_void_v<Value>, "return a Result<void>");
    auto permit = co_await room_->acquire(1);  // never refused: there is room for one, and nothing stops the waiting
    const OneShot<Value> done(loop_);
    submit([&loop = loop_, done, place = Place{.room = room_, .permit = std::move(*permit)},
            work = std::move(function)]() mutable {
      loop.post([done, place = std::move(place), value = work()]() mutable { done.set(std::move(value)); });
    });
    auto value = co_await done.wait();
    co_return std::move(value);
  }

 private:
  // Goes with the work, to a thread and back to the loop, where it may arrive when the pool is gone.
  struct Place {
    std::shared_ptr<Semaphore> room;
    Semaphore::Permit permit;
  };

  void submit(EventLoop::Callback work);
  void work();

  EventLoop& loop_;
  std::shared_ptr<Semaphore> room_;
  std::shared_ptr<BlockingPool*> self_;  // for what the loop still calls when the pool is gone
  std::size_t unwoken_ = 0;              // calls queued in this turn of the loop: their threads are woken at its end
  std::mutex mutex_;                     // guards queue_ and closing_
  std::condition_variable wake_;
  std::deque<EventLoop::Callback> queue_;
  bool closing_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace millrace
