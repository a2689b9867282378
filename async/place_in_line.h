// A place in a line of those who wait: left together with the frame that waits, however that ends.
//
//   struct Waiter { Semaphore* owner; ... };      // `owner` is null once it is out of the line
//   const auto waiter = std::make_shared<Waiter>(this, ...);
//   waiters_.push_back(waiter);
//   const PlaceInLine place(waiter);              // a dropped frame calls owner->leave(waiter)
//   auto result = co_await waiter->granted.wait();
//
// The owner outlives those who wait. Loop thread only.
#pragma once

#include <memory>
#include <utility>

namespace millrace {

template <class Waiter>
class PlaceInLine {
 public:
  explicit PlaceInLine(std::shared_ptr<Waiter> waiter) : waiter_(std::move(waiter)) {}
  PlaceInLine(const PlaceInLine&) = delete;
  PlaceInLine& operator=(const PlaceInLine&) = delete;
  ~PlaceInLine() {
    if (waiter_->owner != nullptr) waiter_->owner->leave(waiter_);
  }

 private:
  std::shared_ptr<Waiter> waiter_;
};

}  // namespace millrace
