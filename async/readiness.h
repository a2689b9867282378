// Waits for one descriptor again and again.
//
//   Readiness readable(loop, fd.get(), EventLoop::Interest::readable);
//   for (;;) {
//     while (read_some(fd)) {}
//     const auto ready = co_await readable.wait(stop);
//     if (!ready) co_return;
//   }
//
// It stays registered with the loop from one wait to the next, where wait_ready() (async/sleep.h) registers for each:
// six system calls with libuv. A descriptor that gets ready while nobody waits is let go of until the next wait, so
// that it does not keep the loop turning.
//
// Life cycle: destroy it before the descriptor is closed, and not while somebody waits. Thread: the loop's.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"
#include "core/error.h"

namespace millrace {

class Readiness {
 public:
  Readiness(EventLoop& loop, int fd, EventLoop::Interest interest) : loop_(loop), fd_(fd), interest_(interest) {}
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  // Success when the descriptor is ready (or has an error to report by the next system call), `cancelled` when `stop`
  // is requested. One at a time.
  [[nodiscard]] Task<Result<void>> wait(std::stop_token stop = {});

 private:
  void ready();

  EventLoop& loop_;
  int fd_;
  EventLoop::Interest interest_;
  std::unique_ptr<EventLoop::Handle> watch_;
  std::optional<OneShot<Result<void>>> waiting_;
};

}  // namespace millrace
