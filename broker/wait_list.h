// WaitList: coroutines that sleep until somebody wakes them, without an allocation per sleep and with one turn of the
// loop for all that are woken together.
//
//   while (!ready()) co_await list.wait(stop);     // woken or stopped: look again
//   list.wake(3);                                  // the three that have slept longest; they resume in a later step
//
// Loop thread only. A waiting frame may be destroyed at any time, and so may the list: who sleeps then never wakes.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>

#include "async/event_loop.h"

namespace millrace {

class WaitList {
 public:
  explicit WaitList(EventLoop& loop);
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;
  ~WaitList();

 private:
  // A ring of sleepers; `next` of the ring itself is the one that has slept longest.
  struct Link {
    Link* before = this;
    Link* after = this;

    Link() = default;
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link() { unlink(); }
    [[nodiscard]] bool alone() const { return after == this; }
    void unlink();
    void insert_before(Link& other);
  };

 public:
  class [[nodiscard]] Awaiter : private Link {
   public:
    Awaiter(WaitList& list, std::uint64_t ticket, std::stop_token stop)
        : list_(list), ticket_(ticket), stop_(std::move(stop)) {}

    bool await_ready() const { return stop_.stop_requested(); }
    void await_suspend(std::coroutine_handle<> waiter);
    void await_resume() { on_stop_.reset(); }

   private:
    friend class WaitList;
    struct Stopped {
      Awaiter* awaiter;
      void operator()() const {
        if (awaiter->asleep_) awaiter->list_.wake(*awaiter);
      }
    };

    WaitList& list_;
    std::uint64_t ticket_;
    bool asleep_ = false;  // in the list's own ring; only then is list_ touched
    std::stop_token stop_;
    std::coroutine_handle<> waiter_;
    std::optional<std::stop_callback<Stopped>> on_stop_;
  };

  // Sleeps until woken or until `stop` is requested; does not sleep at all when it already is. `ticket` is for
  // wake_until().
  [[nodiscard]] Awaiter wait(std::stop_token stop = {}, std::uint64_t ticket = 0) {
    return Awaiter(*this, ticket, std::move(stop));
  }

  void wake(std::size_t count);
  void wake_all();

  // Wakes from the front while tickets are not above `ticket`, and resumes at once, on the caller's stack: for callers
  // that are themselves a step of the loop and have nothing left to do. Tickets must have been given in growing order.
  void run_until(std::uint64_t ticket);

  [[nodiscard]] bool empty() const { return sleeping_.alone(); }

 private:
  struct Ready {
    Link ring;
    bool posted = false;
  };

  [[nodiscard]] Awaiter& first() { return static_cast<Awaiter&>(*sleeping_.after); }
  void wake(Awaiter& awaiter);
  static void run(Link& batch);

  EventLoop& loop_;
  Link sleeping_;
  std::shared_ptr<Ready> ready_;  // shared with the posted step, which may outlive the list
};

}  // namespace millrace
