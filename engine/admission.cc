#include "engine/admission.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace millrace {

Admission::Slot::Slot(Slot&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)),
      function_(std::move(other.function_)),
      memory_bytes_(other.memory_bytes_),
      cpu_millicores_(other.cpu_millicores_) {}

void Admission::Slot::release() {
  if (owner_ == nullptr) return;
  std::exchange(owner_, nullptr)->release(function_, memory_bytes_, cpu_millicores_);
}

std::uint32_t Admission::running(const std::string& function) const {
  const auto found = running_.find(function);
  return found == running_.end() ? 0 : found->second;
}

bool Admission::at_own_limit(const FunctionSpec& function) const {
  return function.concurrency != 0 && running(function.name) >= function.concurrency;
}

std::uint32_t Admission::room(const FunctionSpec& function) const {
  const std::uint32_t busy = running(function.name);
  std::uint64_t room = function.concurrency == 0 ? std::numeric_limits<std::uint32_t>::max()
                                                 : function.concurrency - std::min(busy, function.concurrency);
  // Asking for more than the node has means the whole node, so that the function runs, alone.
  const auto memory =
      std::clamp<std::uint64_t>(function.memory_bytes, 1, std::max<std::uint64_t>(budget_.memory_bytes, 1));
  const auto cpu =
      std::clamp<std::uint32_t>(function.cpu_millicores, 1, std::max<std::uint32_t>(budget_.cpu_millicores, 1));
  room = std::min({room, free_.memory_bytes / memory, static_cast<std::uint64_t>(free_.cpu_millicores / cpu)});
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(room, std::numeric_limits<std::uint32_t>::max()));
}

Admission::Slot Admission::take(const FunctionSpec& function) {
  const auto memory = std::min(std::max<std::uint64_t>(function.memory_bytes, 1), budget_.memory_bytes);
  const auto cpu = std::min(std::max<std::uint32_t>(function.cpu_millicores, 1), budget_.cpu_millicores);
  free_.memory_bytes -= memory;
  free_.cpu_millicores -= cpu;
  ++running_[function.name];
  return Slot(this, function.name, memory, cpu);
}

Task<Result<Admission::Slot>> Admission::acquire(std::shared_ptr<const FunctionSpec> function, EventLoop::Duration hold,
                                                 std::stop_token stop) {
  const auto waiter = std::make_shared<Waiter>(this, std::move(function), OneShot<Result<Slot>>(loop_));
  waiters_.push_back(waiter);
  const PlaceInLine place(waiter);
  admit_waiting();
  std::unique_ptr<EventLoop::Handle> timer;
  if (waiter->owner != nullptr) {
    timer =
        loop_.start_timer(hold, [waiter] { give_up(waiter, Errc::resource_exhausted, "no free slot on this node"); });
  }
  const std::stop_callback on_stop(stop, [waiter] { give_up(waiter, Errc::cancelled, "cancelled"); });
  auto slot = co_await waiter->admitted.wait();
  co_return slot;
}

void Admission::give_up(const std::shared_ptr<Waiter>& waiter, Errc code, const char* why) {
  if (waiter->owner == nullptr) return;
  waiter->admitted.set(fail(code, why));
  waiter->owner->leave(waiter);
}

void Admission::leave(const std::shared_ptr<Waiter>& waiter) {
  waiter->owner = nullptr;
  waiters_.erase(std::ranges::find(waiters_, waiter));
  admit_waiting();  // it may have been the one that all others waited behind
}

void Admission::release(const std::string& function, std::uint64_t memory_bytes, std::uint32_t cpu_millicores) {
  free_.memory_bytes += memory_bytes;
  free_.cpu_millicores += cpu_millicores;
  const auto found = running_.find(function);
  if (--found->second == 0) running_.erase(found);
  admit_waiting();
  if (!on_room_ || std::exchange(told_, true)) return;
  loop_.post([this] {
    told_ = false;
    on_room_();
  });
}

// In order of arrival, past those whose function is at its own limit: a full function must not block the node. One that
// only waits for the node blocks the others, else a large function would wait for ever behind small ones that fit.
void Admission::admit_waiting() {
  for (auto next = waiters_.begin(); next != waiters_.end();) {
    const auto waiter = *next;
    const FunctionSpec& function = *waiter->function;
    if (at_own_limit(function)) {
      ++next;
      continue;
    }
    if (room(function) == 0) return;
    next = waiters_.erase(next);
    waiter->owner = nullptr;
    waiter->admitted.set(take(function));
  }
}

}  // namespace millrace
