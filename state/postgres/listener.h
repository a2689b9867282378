// Hears what the nodes tell one another: a connection of its own that only listens. When it breaks it is made anew, and
// whatever was told meanwhile is missed; each time it is up again this is told as Notice::Kind::again.
//
// Thread: the loop; dialling happens on a thread of the pool.
#pragma once

#include <functional>
#include <memory>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "async/task.h"
#include "async/task_group.h"
#include "core/backoff.h"
#include "core/error.h"
#include "state/postgres/library.h"
#include "state/postgres/url.h"
#include "state/shared_state.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace::postgres {

class Listener {
 public:
  using Heard = std::move_only_function<void(const Notice& notice)>;

  Listener(EventLoop& loop, BlockingPool& dialler, Address address, Log& log, Metrics& metrics);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();

  void start(Heard heard);  // once
  [[nodiscard]] Task<void> close();

 private:
  Task<void> dial_until_up();
  void attach(ConnectionPtr connection);
  void readable();
  void lost(const Error& why);

  EventLoop& loop_;
  BlockingPool& dialler_;
  const Address address_;
  Log& log_;
  Gauge& connected_;
  Counter& notices_;
  Backoff backoff_;
  Heard heard_;
  ConnectionPtr connection_;
  std::unique_ptr<EventLoop::Handle> reading_;
  bool closing_ = false;
  TaskGroup tasks_;
};

}  // namespace millrace::postgres
