#include "runtime/launcher/channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "runtime/launcher/protocol.h"

namespace millrace::launcher {
namespace {

constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
// Templates get the descriptors of a control group besides.
constexpr std::size_t kTransferDescriptorsMax = kDescriptorsMax + 16;
constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(int) * kTransferDescriptorsMax);

// Takes ownership of every descriptor that came along, also when the datagram is refused afterwards.
void take_descriptors(msghdr& message, std::vector<Fd>& into) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      into.emplace_back(fd);
    }
  }
}

}  // namespace

Transfer receive(int socket, Datagram& into) {
  into.descriptors.clear();
  into.bytes.clear();
  std::array<char, kDatagramBytesMax> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): zeroing it costs more
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    if (errno == EAGAIN) return Transfer::would_block;
    return errno == ECONNRESET ? Transfer::closed : Transfer::failed;
  }
  take_descriptors(message, into.descriptors);
  into.bytes.assign(buffer.data(), static_cast<std::size_t>(got));
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return Transfer::refused;
  // A SEQPACKET socket reports its end as an empty datagram; no message of ours is empty.
  return got == 0 ? Transfer::closed : Transfer::done;
}

Transfer send(int socket, std::string_view bytes, std::span<const int> descriptors) {
  if (bytes.empty() || bytes.size() > kDatagramBytesMax || descriptors.size() > kTransferDescriptorsMax) {
    return Transfer::refused;
  }
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return Transfer::done;
  if (errno == EAGAIN) return Transfer::would_block;
  return errno == EPIPE || errno == ECONNRESET ? Transfer::closed : Transfer::failed;
}

Result<Fd> sealed_memfd(std::string_view bytes) {
  Fd fd(::memfd_create("program", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail(error_from_errno(errno, "memfd_create for a program"));
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail(error_from_errno(errno, "write a program into a memfd"));
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) < 0) return fail(error_from_errno(errno, "seal a memfd"));
  return fd;
}

Result<std::string> read_sealed_memfd(int fd, std::size_t bytes_max) {
  // F_GET_SEALS fails on anything that is no memfd, so a pipe or a device never gets as far as the read.
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return fail(Errc::invalid_argument, "a program's descriptor is not a fully sealed memfd");
  }
  struct stat status{};
  if (::fstat(fd, &status) < 0) return fail(error_from_errno(errno, "fstat of a program's memfd"));
  if (status.st_size < 0 || static_cast<std::uint64_t>(status.st_size) > bytes_max) {
    return fail(Errc::too_large, "a program's memfd is over its bound");
  }
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::pread(fd, bytes.data() + have, bytes.size() - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(error_from_errno(errno, "read a program's memfd"));
    have += static_cast<std::size_t>(got);
  }
  return bytes;
}

}  // namespace millrace::launcher
