// OneShot<T>: a value that arrives once and wakes the one coroutine that waits for it. The seam between callbacks and
// tasks; the other primitives are built on it.
//
//   OneShot<Result<Row>> answer(loop);
//   ask(key, [answer](Result<Row> row) { answer.set(std::move(row)); });   // on the loop
//   auto row = co_await answer.wait();
//
// Copies share one state. set() is called on the loop; the first value stands, later ones are ignored. The waiter
// resumes in a later step of the loop, never inside set(), so the setter's own state is not changed under its feet.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <utility>

#include "async/event_loop.h"

namespace millrace {

template <class T>
class OneShot {
 public:
  explicit OneShot(EventLoop& loop) : state_(std::make_shared<State>(&loop)) {}

  // True if this call's value is the one that stands.
  bool set(T value) const {
    if (state_->value) return false;
    state_->value.emplace(std::move(value));
    if (state_->waiter) {
      state_->loop->post([state = state_] {
        if (const auto waiter = std::exchange(state->waiter, {})) waiter.resume();
      });
    }
    return true;
  }

  [[nodiscard]] bool is_set() const { return state_->value.has_value(); }

 private:
  struct State {
    explicit State(EventLoop* event_loop) : loop(event_loop) {}
    EventLoop* loop;
    std::optional<T> value;
    std::coroutine_handle<> waiter;
  };

 public:
  class [[nodiscard]] Awaiter {
   public:
    explicit Awaiter(std::shared_ptr<State> state) : state_(std::move(state)) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    ~Awaiter() {
      state_->waiter = {};  // if the waiting frame is being destroyed, there is nobody to wake
      // and the value, which may be a permit or a descriptor, goes now and not when the last copy does.
      if (!taken_ && state_->value) [[maybe_unused]]
        const T dropped = std::move(*state_->value);
    }

    bool await_ready() const { return state_->value.has_value(); }
    void await_suspend(std::coroutine_handle<> waiter) const { state_->waiter = waiter; }
    T await_resume() {
      taken_ = true;
      return std::move(*state_->value);
    }

   private:
    std::shared_ptr<State> state_;
    bool taken_ = false;
  };

  // At most one waiter; the value is moved out.
  [[nodiscard]] Awaiter wait() const { return Awaiter(state_); }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace millrace
