// Admission: how much may run on this node at a time. A slot is a share of memory, cpu and of the function's own
// concurrency, held for as long as a run uses them.
//
//   auto slot = co_await admission.acquire(function, hold, stop);   // Result<Slot>
//
// Threads: the domain loop.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/place_in_line.h"
#include "async/task.h"
#include "core/error.h"
#include "core/function_spec.h"

namespace millrace {

struct NodeBudget {
  std::uint64_t memory_bytes = 0;
  std::uint32_t cpu_millicores = 0;
};

class Admission {
 public:
  // Gives its share back when destroyed. Must not outlive the admission.
  class Slot {
   public:
    Slot(Admission* owner, std::string function, std::uint64_t memory_bytes, std::uint32_t cpu_millicores)
        : owner_(owner), function_(std::move(function)), memory_bytes_(memory_bytes), cpu_millicores_(cpu_millicores) {}
    Slot(Slot&& other) noexcept;
    Slot& operator=(Slot&&) = delete;
    ~Slot() { release(); }

    // Early: nothing of the run uses memory or cpu any more.
    void release();

   private:
    Admission* owner_;
    std::string function_;
    std::uint64_t memory_bytes_;
    std::uint32_t cpu_millicores_;
  };

  Admission(EventLoop& loop, NodeBudget budget) : loop_(loop), budget_(budget), free_(budget) {}
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // Waits its turn at most `hold`: `resource_exhausted` then, `cancelled` when stopped. A function larger than the
  // whole node is admitted alone: its limits still hold.
  [[nodiscard]] Task<Result<Slot>> acquire(std::shared_ptr<const FunctionSpec> function, EventLoop::Duration hold,
                                           std::stop_token stop);

  // How many more runs of `function` would be admitted right now.
  [[nodiscard]] std::uint32_t room(const FunctionSpec& function) const;

  // True when its own `concurrency` is used up, whatever the node has free.
  [[nodiscard]] bool at_own_limit(const FunctionSpec& function) const;

  [[nodiscard]] std::uint32_t running(const std::string& function) const;
  [[nodiscard]] NodeBudget budget() const { return budget_; }
  [[nodiscard]] NodeBudget free() const { return free_; }

  // Runs `changed` in a step of its own after slots came back. One listener.
  void on_room(std::move_only_function<void()> changed) { on_room_ = std::move(changed); }

 private:
  struct Waiter {
    Admission* owner;  // null once it is no longer queued
    std::shared_ptr<const FunctionSpec> function;
    OneShot<Result<Slot>> admitted;
  };

  friend class PlaceInLine<Waiter>;

  Slot take(const FunctionSpec& function);
  void release(const std::string& function, std::uint64_t memory_bytes, std::uint32_t cpu_millicores);
  static void give_up(const std::shared_ptr<Waiter>& waiter, Errc code, const char* why);
  void leave(const std::shared_ptr<Waiter>& waiter);
  void admit_waiting();

  EventLoop& loop_;
  NodeBudget budget_;
  NodeBudget free_;
  std::map<std::string, std::uint32_t> running_;
  std::list<std::shared_ptr<Waiter>> waiters_;
  std::move_only_function<void()> on_room_;
  bool told_ = false;
};

}  // namespace millrace
