// A message socket between two of our own processes: AF_UNIX SOCK_SEQPACKET, whole messages with descriptors attached.
//
//   SeqpacketSocket socket(loop, std::move(fd));
//   auto sent = co_await socket.send(request, {input.get(), output.get()});    // descriptors are lent, not given
//   auto reply = co_await socket.recv({.bytes_max = 4096, .fds_max = 4});
//   if (reply && !*reply) ...                                                  // the peer has closed its end
//
// Messages arrive whole, in order, or not at all. After an error from recv the stream of messages has a hole or an
// intruder in it: close the socket.
//
// Thread: the loop's. One recv at a time; several sends may wait, they leave in the order of their calls.
#pragma once

#include <cstddef>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/readiness.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "core/error.h"
#include "core/fd.h"

namespace millrace {

class SeqpacketSocket {
 public:
  // What the kernel passes along with one message at most (SCM_MAX_FD).
  static constexpr std::size_t kFdsMax = 253;

  struct Message {
    std::string bytes;
    std::vector<Fd> fds;  // close-on-exec, in the sender's order
  };

  struct Limits {
    std::size_t bytes_max;
    std::size_t fds_max = 0;
  };

  // Two connected ends, close-on-exec: one for this process, one to hand to another.
  [[nodiscard]] static Result<std::pair<Fd, Fd>> pair();

  // `fd` is a connected SEQPACKET socket; it becomes non-blocking for everybody who shares it.
  SeqpacketSocket(EventLoop& loop, Fd fd);
  SeqpacketSocket(const SeqpacketSocket&) = delete;
  SeqpacketSocket& operator=(const SeqpacketSocket&) = delete;

  // Waits while the peer does not read. `fds` stay open until the task is done. `invalid_argument` for an empty message
  // (it would read as the end) or too many descriptors, `too_large` for one beyond the socket's buffer, `unavailable`
  // when the peer is gone, `cancelled`.
  [[nodiscard]] Task<Result<void>> send(std::string bytes, std::vector<int> fds = {}, std::stop_token stop = {});

  // The next message; nothing when the peer has closed. `too_large` for one beyond the limits, which is dropped with
  // its descriptors; `unavailable` when the connection broke, `cancelled`.
  [[nodiscard]] Task<Result<std::optional<Message>>> recv(Limits limits, std::stop_token stop = {});

  // For SO_PEERCRED and the like.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  EventLoop& loop_;
  Fd fd_;
  Readiness readable_;
  Fd write_fd_;  // the same socket again: a loop watches a descriptor once, and both directions may wait
  Semaphore sending_;
};

}  // namespace millrace
