#include "net/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

namespace millrace {
namespace {

constexpr int kBacklog = 4096;       // the kernel cuts it to net.core.somaxconn
constexpr int kAcceptedAtOnce = 64;  // then the other work of the loop has its turn
constexpr auto kPauseWithoutRoom = std::chrono::milliseconds(100);

struct AddressesDeleter {
  void operator()(addrinfo* addresses) const { ::freeaddrinfo(addresses); }
};

Error listen_error(int error_number, const std::string& name) {
  Error error = error_from_errno(error_number, "listen on " + name);
  if (error_number == EADDRINUSE) {
    error.message =
        "listen on " + name + ": the port is taken by another program; stop that one or choose another port";
  }
  if (error_number == EACCES) error.message += "; ports below 1024 need root or CAP_NET_BIND_SERVICE";
  if (error_number == EADDRNOTAVAIL) {
    error.code = Errc::invalid_argument;
    error.message += "; this machine has no such address";
  }
  return error;
}

std::string peer_name(const sockaddr_storage& address, socklen_t length) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, host.data(), host.size(),  // NOLINT: sockets
                    port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  const bool v6 = address.ss_family == AF_INET6;
  return (v6 ? "[" : "") + std::string(host.data()) + (v6 ? "]:" : ":") + port.data();
}

}  // namespace

std::string host_and_port(const std::string& address, std::uint16_t port) {
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

Result<ListeningSocket> listen_tcp(const std::string& address, std::uint16_t port) {
  const std::string name = host_and_port(address, port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (address.empty() || ::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return fail(Errc::invalid_argument,
                "listen on " + name + ": expected a numeric address such as 127.0.0.1, 0.0.0.0 or ::");
  }
  const std::unique_ptr<addrinfo, AddressesDeleter> owner(found);
  Fd socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(listen_error(errno, name));
  // Lets a restarted daemon bind while connections of the one before still time out; never beside a living listener.
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0) return fail(listen_error(errno, name));
  if (::listen(socket.get(), kBacklog) != 0) return fail(listen_error(errno, name));

  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  auto* bound_address = reinterpret_cast<sockaddr*>(&bound);  // NOLINT: the sockets interface is made so
  if (::getsockname(socket.get(), bound_address, &length) != 0) return fail(listen_error(errno, name));
  const std::uint16_t bound_port = bound.ss_family == AF_INET6
                                       ? reinterpret_cast<const sockaddr_in6*>(&bound)->sin6_port  // NOLINT: as above
                                       : reinterpret_cast<const sockaddr_in*>(&bound)->sin_port;   // NOLINT: as above
  return ListeningSocket{.fd = std::move(socket), .port = ntohs(bound_port)};
}

Listener::Listener(EventLoop& loop, Fd socket, Accepted accepted)
    : loop_(loop), socket_(std::move(socket)), accepted_(std::move(accepted)) {
  resume();
}

void Listener::resume() {
  timer_.reset();
  watch_ = loop_.watch(socket_.get(), EventLoop::Interest::readable, [this] { accept_some(); });
}

void Listener::accept_some() {
  for (int i = 0; i < kAcceptedAtOnce; ++i) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    Fd socket(::accept4(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length,  // NOLINT: sockets
                        SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      accepted_(std::move(socket), peer_name(address, length));
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) return pause();
    if (errno != EINTR && errno != ECONNABORTED) return;  // EAGAIN: that was all
  }
}

// The connection that found no descriptor stays in the queue, so the socket stays readable: asking again at once would
// spin.
void Listener::pause() {
  watch_.reset();
  timer_ = loop_.start_timer(kPauseWithoutRoom, [this] { resume(); });
}

}  // namespace millrace
