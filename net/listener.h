// A listening TCP socket on a loop: hands out accepted sockets until it is destroyed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "async/event_loop.h"
#include "core/error.h"
#include "core/fd.h"

namespace millrace {

struct ListeningSocket {
  Fd fd;
  std::uint16_t port = 0;
};

// `address` is numeric. Errors name address and remedy.
[[nodiscard]] Result<ListeningSocket> listen_tcp(const std::string& address, std::uint16_t port);

// As in a URL: "127.0.0.1:8090", "[::1]:8090".
[[nodiscard]] std::string host_and_port(const std::string& address, std::uint16_t port);

class Listener {
 public:
  using Accepted = std::move_only_function<void(Fd socket, std::string peer)>;

  // On the loop's thread.
  Listener(EventLoop& loop, Fd socket, Accepted accepted);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() = default;

 private:
  void accept_some();
  void pause();
  void resume();

  EventLoop& loop_;
  Fd socket_;
  Accepted accepted_;
  std::unique_ptr<EventLoop::Handle> timer_;
  std::unique_ptr<EventLoop::Handle> watch_;  // goes before the socket
};

}  // namespace millrace
