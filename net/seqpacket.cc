#include "net/seqpacket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "async/sleep.h"

namespace millrace {
namespace {

using Message = SeqpacketSocket::Message;

// Room for the descriptors of one message. When receiving, CMSG_LEN and not CMSG_SPACE is what the kernel is told: the
// padding of the latter would let one descriptor more through than was asked for.
struct ControlBuffer {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(SeqpacketSocket::kFdsMax * sizeof(int))> bytes{};
};

// False: the socket's buffer is full.
Result<bool> send_now(int fd, const std::string& bytes, const std::vector<int>& fds) {
  iovec data{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};  // NOLINT: sendmsg does not write
  ControlBuffer control;
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
  }
  for (;;) {
    if (::sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return true;
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return false;
    if (errno == ETOOMANYREFS) {
      return fail(Errc::resource_exhausted,
                  "send a message: too many descriptors are on their way, unread by the peer");
    }
    return fail(error_from_errno(errno, "send a message of " + std::to_string(bytes.size()) + " bytes"));
  }
}

// Takes the descriptors out of the control data, so that they are closed whatever happens next.
std::vector<Fd> take_fds(msghdr& header) {
  std::vector<Fd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

struct Received {
  bool waiting = false;            // nothing has arrived yet
  std::optional<Message> message;  // nothing: the end
};

Result<Received> recv_now(int fd, SeqpacketSocket::Limits limits) {
  Message message;
  message.bytes.resize(limits.bytes_max);
  iovec data{.iov_base = message.bytes.data(), .iov_len = message.bytes.size()};
  ControlBuffer control;
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (limits.fds_max > 0) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_LEN(std::min(limits.fds_max, SeqpacketSocket::kFdsMax) * sizeof(int));
  }
  ssize_t got = 0;
  do got = ::recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return Received{.waiting = true, .message = {}};
  if (got < 0) return fail(error_from_errno(errno, "receive a message"));

  message.fds = take_fds(header);
  if ((header.msg_flags & MSG_TRUNC) != 0) {
    return fail(Errc::too_large, "receive a message: it is longer than " + std::to_string(limits.bytes_max) + " bytes");
  }
  if ((header.msg_flags & MSG_CTRUNC) != 0) {
    return fail(Errc::too_large, "receive a message: it carries more than " + std::to_string(limits.fds_max) +
                                     " descriptors, or this process has no room for more open files");
  }
  if (got == 0) return Received{};
  message.bytes.resize(static_cast<std::size_t>(got));
  return Received{.waiting = false, .message = std::move(message)};
}

}  // namespace

Result<std::pair<Fd, Fd>> SeqpacketSocket::pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(error_from_errno(errno, "make a pair of message sockets"));
  }
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

SeqpacketSocket::SeqpacketSocket(EventLoop& loop, Fd fd)
    : loop_(loop), fd_(std::move(fd)), readable_(loop, fd_.get(), EventLoop::Interest::readable), sending_(loop, 1) {}

Task<Result<void>> SeqpacketSocket::send(std::string bytes, std::vector<int> fds, std::stop_token stop) {
  if (bytes.empty()) {
    co_return fail(Errc::invalid_argument, "send a message: it is empty, which the peer would read as the end");
  }
  if (fds.size() > kFdsMax) {
    co_return fail(Errc::invalid_argument, "send a message: " + std::to_string(fds.size()) +
                                               " descriptors, the kernel passes at most " + std::to_string(kFdsMax));
  }
  const auto turn = co_await sending_.acquire(1, stop);
  if (!turn) co_return fail(turn.error());
  for (;;) {
    const auto sent = send_now(fd_.get(), bytes, fds);
    if (!sent) co_return fail(sent.error());
    if (*sent) co_return Result<void>();
    if (!write_fd_) {
      write_fd_ = Fd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
      if (!write_fd_) co_return fail(error_from_errno(errno, "wait until a message can be sent"));
    }
    const auto ready = co_await wait_ready(loop_, write_fd_.get(), EventLoop::Interest::writable, stop);
    if (!ready) co_return fail(ready.error());
  }
}

Task<Result<std::optional<Message>>> SeqpacketSocket::recv(Limits limits, std::stop_token stop) {
  for (;;) {
    auto received = recv_now(fd_.get(), limits);
    if (!received) co_return fail(received.error());
    if (!received->waiting) co_return std::move(received->message);
    const auto ready = co_await readable_.wait(stop);
    if (!ready) co_return fail(ready.error());
  }
}

}  // namespace millrace
