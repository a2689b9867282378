#include "tests/integration/supervisor/fake_report.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>

namespace millrace::test {
namespace {

int connection = -1;

}  // namespace

std::string argument(int argc, char** argv, const std::string& name) {
  const std::string prefix = "--" + name + "=";
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]).starts_with(prefix)) return argv[i] + prefix.size();
  }
  return {};
}

void report_to(int argc, char** argv) {
  const std::string path = argument(argc, argv, "report");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  connection = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (::connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) ::_exit(90);
}

void report(const std::string& text) {
  const std::string line = std::to_string(::getpid()) + " " + text;
  if (::send(connection, line.data(), line.size(), MSG_NOSIGNAL) < 0) ::_exit(91);
}

Received receive(int socket) {
  Received got;
  std::array<char, 256> buffer{};
  iovec data{.iov_base = buffer.data(), .iov_len = buffer.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (size <= 0) return got;
  got.bytes.assign(buffer.data(), static_cast<std::size_t>(size));
  if (const cmsghdr* rights = CMSG_FIRSTHDR(&message); rights != nullptr) {
    std::memcpy(&got.fd, CMSG_DATA(rights), sizeof(int));
  }
  return got;
}

}  // namespace millrace::test
