#include "async/task_group.h"

namespace millrace {

TaskGroup::TaskGroup(EventLoop& loop, std::stop_token parent) : loop_(loop), parent_(parent, Forward{&source_}) {}

void TaskGroup::spawn(Task<void> task) {
  sweep();
  ++running_;
  const auto entry = entries_.emplace(entries_.end());
  *entry = run(entry, std::move(task));
  entry->start();
}

Task<void> TaskGroup::run(Entries::iterator entry, Task<void> task) {
  {
    const Task<void> inner = std::move(task);
    co_await inner;
  }  // its parameters go now, not when the entry is swept
  // The entry owns this very frame, so it is only marked here and erased from outside.
  finished_.push_back(entry);
  --running_;
  if (running_ == 0 && empty_) empty_->set(true);
}

Task<void> TaskGroup::join() {
  while (running_ != 0) {
    empty_.emplace(loop_);
    co_await empty_->wait();
    empty_.reset();
  }
  sweep();
}

void TaskGroup::sweep() {
  for (const auto entry : finished_) entries_.erase(entry);
  finished_.clear();
}

}  // namespace millrace
