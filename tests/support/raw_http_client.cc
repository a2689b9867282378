#include "tests/support/raw_http_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

namespace millrace::test {

RawClient::RawClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const timeval hang_guard{.tv_sec = 30, .tv_usec = 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &hang_guard, sizeof hang_guard);
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // what is sent apart leaves apart
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);  // NOLINT: sockets
}

void RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the server has closed; what it said is still there to read
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void RawClient::shut_down() {
  ::shutdown(fd_.get(), SHUT_WR);
}

bool RawClient::read_some() {
  std::array<char, 65536> buffer{};
  const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (got < 0 && errno == ECONNRESET) input_ += "reset";
  if (got <= 0) return false;
  input_.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

std::string RawClient::read_to_end() {
  while (read_some()) {
  }
  return std::exchange(input_, {});
}

bool RawClient::ended() {
  return input_.empty() && !read_some();
}

std::string RawClient::take(std::size_t bytes) {
  while (input_.size() < bytes && read_some()) {
  }
  std::string taken = input_.substr(0, bytes);
  input_.erase(0, taken.size());
  return taken;
}

std::string RawClient::take_line() {
  while (input_.find("\r\n") == std::string::npos && read_some()) {
  }
  return take(std::min(input_.find("\r\n"), input_.size() - 2) + 2);
}

Answer RawClient::read_answer(std::string_view method) {
  while (input_.find("\r\n\r\n") == std::string::npos) {
    if (!read_some()) return {.status = 0, .head = input_, .body = {}};
  }
  Answer answer;
  answer.head = take(input_.find("\r\n\r\n") + 4);
  std::from_chars(answer.head.data() + 9, answer.head.data() + 12, answer.status);
  if (method == "HEAD" || answer.status == 204 || answer.status == 304 || answer.status < 200) return answer;
  if (const auto at = answer.head.find("Content-Length: "); at != std::string::npos) {
    answer.body = take(std::stoul(answer.head.substr(at + 16)));
  } else if (answer.has("Transfer-Encoding: chunked")) {
    for (;;) {
      const std::size_t size = std::stoul(take_line(), nullptr, 16);
      answer.body += take(size);
      EXPECT_EQ(take(2), "\r\n");
      if (size == 0) break;
    }
  } else {
    answer.body = read_to_end();
  }
  return answer;
}

}  // namespace millrace::test
