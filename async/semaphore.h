// Waiting for room: a counting semaphore, and a gate that stops new work and waits for the old. Loop thread only.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/place_in_line.h"
#include "async/task.h"
#include "core/error.h"

namespace millrace {

// First come, first served: a large request at the head is not overtaken by small ones behind it.
//
//   auto slots = co_await memory.acquire(512, stop);    // Result<Semaphore::Permit>
//   if (!slots) co_return fail(slots.error());          // cancelled, or more than there will ever be
class Semaphore {
 public:
  // Gives its units back when destroyed. Must not outlive the semaphore.
  class Permit {
   public:
    Permit() = default;
    Permit(Semaphore* owner, std::size_t units) : owner_(owner), units_(units) {}
    Permit(Permit&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), units_(std::exchange(other.units_, 0)) {}
    Permit& operator=(Permit&& other) noexcept {
      if (this != &other) {
        reset();
        owner_ = std::exchange(other.owner_, nullptr);
        units_ = std::exchange(other.units_, 0);
      }
      return *this;
    }
    ~Permit() { reset(); }
    void reset() {
      if (owner_ != nullptr) std::exchange(owner_, nullptr)->release(units_);
    }

   private:
    Semaphore* owner_ = nullptr;
    std::size_t units_ = 0;
  };

  Semaphore(EventLoop& loop, std::size_t units) : loop_(loop), capacity_(units), free_(units) {}
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  // `resource_exhausted` when `units` is more than the capacity, `cancelled` when `stop` is requested first.
  [[nodiscard]] Task<Result<Permit>> acquire(std::size_t units, std::stop_token stop = {});
  [[nodiscard]] std::optional<Permit> try_acquire(std::size_t units);

  [[nodiscard]] std::size_t free() const { return free_; }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }
  [[nodiscard]] std::size_t waiting() const { return waiters_.size(); }

 private:
  struct Waiter {
    Semaphore* owner;  // null once it is no longer queued
    std::size_t units;
    OneShot<Result<Permit>> granted;
  };

  friend class PlaceInLine<Waiter>;

  void release(std::size_t units);
  void grant();
  void leave(const std::shared_ptr<Waiter>& waiter);

  EventLoop& loop_;
  std::size_t capacity_;
  std::size_t free_;
  std::deque<std::shared_ptr<Waiter>> waiters_;
};

// Lets work in until closed; closing waits until everything inside has left.
//
//   auto inside = gate.enter();
//   if (!inside) co_return fail(inside.error());       // closing
class Gate {
 public:
  class Pass {
   public:
    explicit Pass(Gate* gate) : gate_(gate) {}
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_ != nullptr) gate_->leave();
    }

   private:
    Gate* gate_;
  };

  explicit Gate(EventLoop& loop) : empty_(loop) {}

  [[nodiscard]] Result<Pass> enter();  // `unavailable` once closing
  [[nodiscard]] Task<void> close();    // once; returns when everybody has left
  [[nodiscard]] std::size_t inside() const { return inside_; }

 private:
  void leave();

  std::size_t inside_ = 0;
  bool closing_ = false;
  OneShot<bool> empty_;
};

}  // namespace millrace
