#include "broker/wait_list.h"

namespace millrace {

void WaitList::Link::unlink() {
  before->after = after;
  after->before = before;
  before = after = this;
}

void WaitList::Link::insert_before(Link& other) {
  before = other.before;
  after = &other;
  before->after = this;
  other.before = this;
}

WaitList::WaitList(EventLoop& loop) : loop_(loop), ready_(std::make_shared<Ready>()) {}

WaitList::~WaitList() {
  for (; !sleeping_.alone(); sleeping_.after->unlink()) first().asleep_ = false;
  while (!ready_->ring.alone()) ready_->ring.after->unlink();
}

void WaitList::Awaiter::await_suspend(std::coroutine_handle<> waiter) {
  waiter_ = waiter;
  asleep_ = true;
  insert_before(list_.sleeping_);
  if (stop_.stop_possible()) on_stop_.emplace(stop_, Stopped{this});
}

void WaitList::wake(std::size_t count) {
  for (; count > 0 && !sleeping_.alone(); --count) wake(first());
}

void WaitList::wake_all() {
  while (!sleeping_.alone()) wake(first());
}

void WaitList::wake(Awaiter& awaiter) {
  awaiter.asleep_ = false;
  awaiter.unlink();
  awaiter.insert_before(ready_->ring);
  if (ready_->posted) return;
  ready_->posted = true;
  loop_.post([ready = ready_] {
    ready->posted = false;
    if (ready->ring.alone()) return;
    // Only those that are ready now: who goes to sleep and is woken while they run gets the next step.
    Link batch;
    batch.insert_before(ready->ring);
    ready->ring.unlink();  // what was its ring is now the batch's
    run(batch);
  });
}

void WaitList::run_until(std::uint64_t ticket) {
  Link batch;
  while (!sleeping_.alone() && first().ticket_ <= ticket) {
    Awaiter& awaiter = first();
    awaiter.asleep_ = false;
    awaiter.unlink();
    awaiter.insert_before(batch);
  }
  run(batch);
}

void WaitList::run(Link& batch) {
  while (!batch.alone()) {
    auto& awaiter = static_cast<Awaiter&>(*batch.after);
    awaiter.unlink();
    awaiter.waiter_.resume();  // may destroy any frame, also of those that wait behind it, and the list
  }
}

}  // namespace millrace
