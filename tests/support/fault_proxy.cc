#include "tests/support/fault_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace millrace::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kHeldMax = 1U << 20;          // each way; then the sender is made to wait
constexpr std::chrono::milliseconds kTick{5};       // the grain of delays and limits
constexpr std::chrono::milliseconds kIdleTick{50};  // to see a call from another thread

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

// NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): the socket interface wants it
Fd connect_to(int port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = loopback(port);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return Fd();
  return socket;
}
// NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)

void make_ready(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

// So that closing resets.
void make_abrupt(int fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace

// One direction of a connection.
struct FaultProxy::Pipe {
  struct Piece {
    Clock::time_point due;
    std::string bytes;
  };
  int from = -1;
  int to = -1;
  std::deque<Piece> held{};
  std::size_t held_bytes = 0;
  bool over = false;     // nothing comes any more
  double allowance = 0;  // bytes that the limit lets through now
  Clock::time_point counted = Clock::now();
};

struct FaultProxy::Connection {
  Fd client;
  Fd server;
  Pipe up{};
  Pipe down{};
};

FaultProxy::FaultProxy(int server_port)
    : server_port_(server_port), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  auto address = loopback(0);
  socklen_t size = sizeof address;
  // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): the socket interface wants it
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(listener_.get(), 64) != 0 ||
      ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::perror("fault proxy");
    std::abort();
  }
  // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
  port_ = ntohs(address.sin_port);
  make_ready(listener_.get());
  thread_ = std::thread([this] { run(); });
}

FaultProxy::~FaultProxy() {
  stopping_ = true;
  thread_.join();
}

void FaultProxy::heal() {
  silent_to_server_ = false;
  silent_to_client_ = false;
  delay_ms_ = 0;
  bytes_per_second_ = 0;
  refusing_ = false;
}

void FaultProxy::silence(Way way) {
  if (way != Way::to_client) silent_to_server_ = true;
  if (way != Way::to_server) silent_to_client_ = true;
}

void FaultProxy::accept_one() {
  Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (client.get() < 0) return;
  ++accepted_;
  Fd server = refusing_ ? Fd() : connect_to(server_port_);
  if (server.get() < 0) {
    make_abrupt(client.get());
    return;
  }
  make_ready(client.get());
  make_ready(server.get());
  auto made = std::make_unique<Connection>(Connection{.client = std::move(client), .server = std::move(server)});
  made->up = {.from = made->client.get(), .to = made->server.get()};
  made->down = {.from = made->server.get(), .to = made->client.get()};
  connections_.push_back(std::move(made));
}

bool FaultProxy::move(Pipe& pipe, bool silent) {
  const auto now = Clock::now();
  if (silent) return true;
  std::array<char, 64 << 10> bytes{};
  while (pipe.held_bytes < kHeldMax) {
    if (pipe.over) break;
    const ssize_t n = ::recv(pipe.from, bytes.data(), bytes.size(), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
      pipe.over = true;
      break;
    }
    if (n < 0) break;
    pipe.held.push_back({.due = now + std::chrono::milliseconds(delay_ms_),
                         .bytes = std::string(bytes.data(), static_cast<std::size_t>(n))});
    pipe.held_bytes += static_cast<std::size_t>(n);
  }
  const auto rate = static_cast<double>(bytes_per_second_);
  pipe.allowance =
      std::min(rate / 10, pipe.allowance + rate * std::chrono::duration<double>(now - pipe.counted).count());
  pipe.counted = now;
  while (!pipe.held.empty() && pipe.held.front().due <= now) {
    std::string& first = pipe.held.front().bytes;
    std::size_t size = first.size();
    if (rate > 0) size = std::min(size, static_cast<std::size_t>(pipe.allowance));
    if (size == 0) break;
    const ssize_t n = ::send(pipe.to, first.data(), size, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return false;
    if (n < 0) break;
    pipe.allowance -= static_cast<double>(n);
    pipe.held_bytes -= static_cast<std::size_t>(n);
    first.erase(0, static_cast<std::size_t>(n));
    if (first.empty()) pipe.held.pop_front();
  }
  return !pipe.over || !pipe.held.empty();
}

void FaultProxy::run() {
  std::uint64_t cuts = 0;
  while (!stopping_) {
    std::vector<pollfd> watched{{.fd = listener_.get(), .events = POLLIN, .revents = 0}};
    bool holding = false;
    for (const auto& each : connections_) {
      const auto watch = [&](const Pipe& pipe, bool silent) {
        const short events = silent || pipe.held_bytes >= kHeldMax ? 0 : POLLIN;
        if (events != 0) watched.push_back({.fd = pipe.from, .events = events, .revents = 0});
        holding = holding || pipe.held_bytes > 0;
      };
      watch(each->up, silent_to_server_);
      watch(each->down, silent_to_client_);
    }
    const auto tick = holding ? kTick : kIdleTick;
    ::poll(watched.data(), watched.size(), static_cast<int>(tick.count()));
    accept_one();
    const bool cut = cuts != cuts_;
    cuts = cuts_;
    for (auto each = connections_.begin(); each != connections_.end();) {
      Connection& connection = **each;
      const bool alive = !cut && move(connection.up, silent_to_server_) && move(connection.down, silent_to_client_);
      if (cut) {
        make_abrupt(connection.client.get());
        make_abrupt(connection.server.get());
      }
      each = alive ? std::next(each) : connections_.erase(each);
    }
  }
}

}  // namespace millrace::test
