#include "async/blocking_pool.h"

#include <algorithm>
#include <utility>

namespace millrace {

BlockingPool::BlockingPool(EventLoop& loop, Options options)
    : loop_(loop),
      room_(std::make_shared<Semaphore>(loop, std::max<std::size_t>(options.queued_max, 1))),
      self_(std::make_shared<BlockingPool*>(this)) {
  threads_.reserve(options.threads);
  for (std::size_t i = 0; i < options.threads; ++i) threads_.emplace_back([this] { work(); });
}

BlockingPool::~BlockingPool() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  threads_.clear();  // joins, while the queue still exists
}

void BlockingPool::submit(EventLoop::Callback work) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  if (std::exchange(unwoken_, unwoken_ + 1) != 0) return;
  loop_.at_rest([pool = std::weak_ptr(self_)] {
    const auto self = pool.lock();
    if (!self) return;
    for (auto& count = (*self)->unwoken_; count > 0; --count) (*self)->wake_.notify_one();
  });
}

void BlockingPool::work() {
  for (;;) {
    EventLoop::Callback next;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    next();
  }
}

}  // namespace millrace
