// Renews the lease of one delivery for as long as this object lives: every third of the lease, with a little jitter so
// that a thousand leases do not renew together.
//
// Threads: the domain loop.
#pragma once

#include <memory>

#include "async/event_loop.h"
#include "async/task.h"
#include "async/task_group.h"
#include "broker/broker.h"

namespace millrace {

class LeaseKeeper {
 public:
  // `delivery` outlives the keeper.
  LeaseKeeper(EventLoop& loop, Delivery& delivery);
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;
  ~LeaseKeeper() { group_.request_stop(); }

 private:
  static Task<void> renew(EventLoop& loop, Delivery& delivery, std::stop_token stop);

  TaskGroup group_;  // dropped with what runs in it
};

}  // namespace millrace
