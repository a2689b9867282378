// Waiting for time, for a descriptor, and for either with a way out.
#pragma once

#include <stop_token>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/error.h"

namespace millrace {

// Success after `delay`, `cancelled` at once when `stop` is requested.
[[nodiscard]] Task<Result<void>> sleep_for(EventLoop& loop, EventLoop::Duration delay, std::stop_token stop = {});

// Success when `fd` is ready (or has an error to report by the next system call), `cancelled` when `stop` is requested.
[[nodiscard]] Task<Result<void>> wait_ready(EventLoop& loop, int fd, EventLoop::Interest interest,
                                            std::stop_token stop = {});

// Ends the current step: everything already posted runs first.
[[nodiscard]] Task<void> yield(EventLoop& loop);

// A stop source that is requested when its parent is, or when a deadline passes, or by hand.
//
//   Deadline deadline(loop, 30s, stop);
//   auto row = co_await store.get(key, deadline.token());
//   if (!row && deadline.expired()) ...
class Deadline {
 public:
  Deadline(EventLoop& loop, EventLoop::Duration limit, std::stop_token parent = {});

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }
  [[nodiscard]] bool expired() const { return expired_; }
  void request_stop() { source_.request_stop(); }

 private:
  struct Forward {
    std::stop_source* source;
    void operator()() const { source->request_stop(); }
  };

  std::stop_source source_;
  bool expired_ = false;
  std::stop_callback<Forward> parent_;
  std::unique_ptr<EventLoop::Handle> timer_;
};

// A stop token for "whichever of the two comes first".
class AnyStop {
 public:
  AnyStop(std::stop_token one, std::stop_token other)
      : one_(one, Forward{&source_}), other_(other, Forward{&source_}) {}

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  struct Forward {
    std::stop_source* source;
    void operator()() const { source->request_stop(); }
  };

  std::stop_source source_;
  std::stop_callback<Forward> one_;
  std::stop_callback<Forward> other_;
};

}  // namespace millrace
