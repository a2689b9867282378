// The launcher's end of a socket, played by a test: takes requests one by one and answers what the test says.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <utility>
#include <variant>
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/fd.h"
#include "net/seqpacket.h"
#include "runtime/launched/launcher_client.h"

namespace millrace::launched {

class FakeLauncher {
 public:
  FakeLauncher(EventLoop& loop, Fd socket) : socket_(loop, std::move(socket)) {}

  // A launcher and the socket for its daemon.
  static std::pair<std::unique_ptr<FakeLauncher>, Fd> make(EventLoop& loop) {
    auto ends = SeqpacketSocket::pair();
    return {std::make_unique<FakeLauncher>(loop, std::move(ends->first)), std::move(ends->second)};
  }

  Task<void> say(launcher::Answer answer) {
    auto bytes = launcher::encode(answer);
    EXPECT_TRUE(bytes);
    const auto sent = co_await socket_.send(std::move(*bytes));
    EXPECT_TRUE(sent);
  }

  Task<void> say_bytes(std::string bytes) {
    const auto sent = co_await socket_.send(std::move(bytes));
    EXPECT_TRUE(sent);
  }

  Task<void> introduce() {
    launcher::Hello hello;
    hello.privileged = true;
    for (auto& control : hello.controls) control.support = launcher::Support::real;
    co_await say(hello);
  }

  // The next request, which must be of this type; its descriptors in descriptors().
  template <class Request>
  Task<Request> take() {
    auto got = co_await socket_.recv({.bytes_max = launcher::kDatagramBytesMax, .fds_max = launcher::kDescriptorsMax});
    if (!got || !*got) {
      ADD_FAILURE() << "the daemon said nothing more";
      co_return Request{};
    }
    auto request = launcher::decode_request((*got)->bytes);
    descriptors_ = std::move((*got)->fds);
    if (!request || !std::holds_alternative<Request>(*request)) {
      ADD_FAILURE() << "the daemon said something else";
      co_return Request{};
    }
    EXPECT_EQ(descriptors_.size(), launcher::descriptors_of(*request));
    co_return std::get<Request>(std::move(*request));
  }

  [[nodiscard]] std::vector<Fd>& descriptors() { return descriptors_; }

 private:
  SeqpacketSocket socket_;
  std::vector<Fd> descriptors_;
};

}  // namespace millrace::launched
