// Requests that a server does not get although the connection to it stands: its configuration sends them here, where
// they wait until the test refuses them. As in a cluster whose servers come and go.
//
//   Diverted requests(server);
//   requests.divert("$JS.API.STREAM.INFO.millrace-t-orders");
//   rig.until([&] { return requests.count() > 0; });
//   requests.end();
#pragma once

#include <gtest/gtest.h>
#include <nats/nats.h>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>

#include "tests/support/nats_server.h"

namespace millrace::test {

class Diverted {
 public:
  explicit Diverted(NatsServer& server) : server_(server) {
    EXPECT_EQ(natsConnection_ConnectTo(&connection_, server.url().c_str()), NATS_OK);
    EXPECT_EQ(natsConnection_SubscribeSync(&requests_, connection_, "diverted"), NATS_OK);
    EXPECT_EQ(natsConnection_Flush(connection_), NATS_OK);
  }
  Diverted(const Diverted&) = delete;
  Diverted& operator=(const Diverted&) = delete;
  ~Diverted() {
    natsSubscription_Destroy(requests_);
    natsConnection_Destroy(connection_);
  }

  // From now on, what is published on `subject`; instead of others before.
  void divert(const std::string& subject) { configure("mappings { \"" + subject + "\": diverted }\n"); }
  void end() { divert("nothing"); }  // a reload that leaves no mapping changes nothing for connections that stand

  // How many came.
  [[nodiscard]] int count() const {
    flush();
    int messages = 0;
    int bytes = 0;
    EXPECT_EQ(natsSubscription_GetPending(requests_, &messages, &bytes), NATS_OK);
    return refused_ + messages;
  }
  // Answers those that wait with an error that may pass. How many came.
  int refuse() {
    const int came = count();
    for (; refused_ < came; ++refused_) {
      natsMsg* request = nullptr;
      EXPECT_EQ(natsSubscription_NextMsg(&request, requests_, 1), NATS_OK);
      if (request == nullptr) return refused_;
      EXPECT_EQ(natsConnection_PublishString(connection_, natsMsg_GetReply(request),
                                             R"({"error": {"code": 503, "err_code": 10008, "description": "away"}})"),
                NATS_OK);
      natsMsg_Destroy(request);
    }
    return came;
  }

 private:
  // A server that was started anew meanwhile has not answered the first one.
  void flush() const {
    natsStatus status = natsConnection_Flush(connection_);
    for (int tries = 0; status == NATS_CONNECTION_DISCONNECTED && tries < 10; ++tries) {
      status = natsConnection_Flush(connection_);
    }
    EXPECT_EQ(status, NATS_OK);
  }
  void configure(std::string lines) {
    const auto before = reloads();
    server_.configure(std::move(lines));
    server_.reload();
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (reloads() == before && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_GT(reloads(), before) << server_.log();
  }
  [[nodiscard]] std::size_t reloads() const {
    constexpr std::string_view kWord = "Reloaded server configuration";
    const std::string log = server_.log();
    std::size_t found = 0;
    for (auto at = log.find(kWord); at != std::string::npos; at = log.find(kWord, at + 1)) ++found;
    return found;
  }

  NatsServer& server_;
  natsConnection* connection_ = nullptr;
  natsSubscription* requests_ = nullptr;
  int refused_ = 0;
};

}  // namespace millrace::test
