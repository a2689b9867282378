// Task<T>: a lazy coroutine with one owner and one awaiter.
//
//   Task<Result<std::string>> read_name(Store& store) {
//     auto row = co_await store.get("name");
//     if (!row) co_return fail(row.error());
//     co_return row->text;
//   }
//
// Life: nothing runs until the task is awaited (or given to a TaskGroup). It then runs on the awaiter's thread up to
// its first real suspension. Dropping a task that is suspended destroys its frame and everything in it: awaitables take
// their registrations back in their destructors, so a whole tree of tasks can be dropped at once.
// Thread: a task stays on the loop it was started on; crossing is done by EventLoop::post inside adapters only.
//
// A child is resumed and then checked ("did it finish?") instead of symmetric transfer: compilers do not reliably turn
// the latter into a tail call in debug and sanitizer builds, and a loop over ready awaits then overflows the stack.
// An exception that leaves a task ends the process: errors travel as Result.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "async/frame_pool.h"

namespace millrace {

template <class T = void>
class Task;

namespace task_detail {

struct PromiseBase : FromFramePool {  // the frame's memory
  std::coroutine_handle<> awaiter;    // resumed at the end, if it had to wait
  bool awaiter_suspended = false;     // false while the child's first run is still on the awaiter's stack

  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> child) const noexcept {
      // The awaiter may destroy the child's frame, so nothing of it is touched after resume().
      if (child.promise().awaiter_suspended) child.promise().awaiter.resume();
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;

  Task<T> get_return_object();
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() const noexcept {}
  void take() const noexcept {}
};

}  // namespace task_detail

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = task_detail::Promise<T>;

  Task() = default;
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() { destroy(); }

  struct Awaiter {
    std::coroutine_handle<promise_type> child;

    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> awaiter) const noexcept {
      auto& promise = child.promise();
      promise.awaiter = awaiter;
      child.resume();
      if (child.done()) return false;  // finished without waiting: the awaiter goes on at once
      promise.awaiter_suspended = true;
      return true;
    }
    T await_resume() const { return child.promise().take(); }
  };
  Awaiter operator co_await() const& noexcept { return {handle_}; }
  Awaiter operator co_await() const&& noexcept { return {handle_}; }

  // Runs a task that nobody awaits up to its first suspension; for TaskGroup, which keeps it until it is done.
  void start() { handle_.resume(); }
  [[nodiscard]] bool done() const { return !handle_ || handle_.done(); }

 private:
  void destroy() {
    if (handle_) handle_.destroy();
  }

  std::coroutine_handle<promise_type> handle_;
};

namespace task_detail {

template <class T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}

}  // namespace task_detail
}  // namespace millrace
