#include "async/semaphore.h"

#include <algorithm>
#include <string>

namespace millrace {

std::optional<Semaphore::Permit> Semaphore::try_acquire(std::size_t units) {
  if (!waiters_.empty() || units > free_) return std::nullopt;
  free_ -= units;
  return Permit(this, units);
}

Task<Result<Semaphore::Permit>> Semaphore::acquire(std::size_t units, std::stop_token stop) {
  if (units > capacity_) {
    co_return fail(Errc::resource_exhausted,
                   std::to_string(units) + " units asked, the whole capacity is " + std::to_string(capacity_));
  }
  if (auto permit = try_acquire(units)) co_return std::move(*permit);

  const auto waiter = std::make_shared<Waiter>(this, units, OneShot<Result<Permit>>(loop_));
  waiters_.push_back(waiter);
  const PlaceInLine place(waiter);
  const std::stop_callback on_stop(stop, [waiter] {
    if (waiter->owner == nullptr) return;
    waiter->granted.set(fail(Errc::cancelled, "cancelled while waiting for room"));
    waiter->owner->leave(waiter);
  });
  auto result = co_await waiter->granted.wait();
  co_return result;
}

void Semaphore::release(std::size_t units) {
  free_ += units;
  grant();
}

void Semaphore::grant() {
  while (!waiters_.empty() && waiters_.front()->units <= free_) {
    const auto waiter = waiters_.front();
    waiters_.pop_front();
    waiter->owner = nullptr;
    free_ -= waiter->units;
    waiter->granted.set(Permit(this, waiter->units));
  }
}

void Semaphore::leave(const std::shared_ptr<Waiter>& waiter) {
  waiter->owner = nullptr;
  waiters_.erase(std::ranges::find(waiters_, waiter));
  grant();  // it may have been the large one at the head
}

Result<Gate::Pass> Gate::enter() {
  if (closing_) return fail(Errc::unavailable, "shutting down");
  ++inside_;
  return Pass(this);
}

Task<void> Gate::close() {
  closing_ = true;
  if (inside_ == 0) empty_.set(true);
  co_await empty_.wait();
}

void Gate::leave() {
  if (--inside_ == 0 && closing_) empty_.set(true);
}

}  // namespace millrace
