// The gateway over a real server; what its routes find behind them is the engine over stand-ins.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "async/blocking_pool.h"
#include "async/uv_event_loop.h"
#include "formats/json.h"
#include "gateway/gateway.h"
#include "net/http_server.h"
#include "tests/support/engine_rig.h"
#include "tests/support/raw_http_client.h"
#include "tests/unit/engine/fickle_broker.h"

namespace millrace {

inline constexpr std::string_view kToken = "0123456789abcdef";

class GatewayRig : public testing::Test {
 public:
  ~GatewayRig() override {
    server_.reset();
    loop_.post([this] { loop_.stop(); });
    domain_.join();
  }

 protected:
  // A client that reads as it comes.
  class Stream {
   public:
    Stream(std::uint16_t port, const std::string& target) : client_(port) {
      client_.send("GET " + target + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + std::string(kToken) +
                   "\r\n\r\n");
    }
    // Reads on until `text` has come; false when the connection ended before.
    bool until(std::string_view text) {
      while (seen_.find(text) == std::string::npos) {
        std::array<char, 65536> buffer{};
        const ssize_t got = ::recv(client_.fd(), buffer.data(), buffer.size(), 0);
        if (got <= 0) return false;
        seen_.append(buffer.data(), static_cast<std::size_t>(got));
      }
      return true;
    }
    [[nodiscard]] const std::string& seen() const { return seen_; }

   private:
    test::RawClient client_;
    std::string seen_;
  };

  GatewayRig() {
    gateway_.set_token(std::string(kToken));
    auto server = HttpServer::start({.io_threads = 1}, gateway_, metrics_);
    if (!server) throw std::runtime_error(server.error().message);
    server_ = std::move(*server);
    domain_ = std::thread([this] { loop_.run(); });
  }

  test::Answer raw(const std::string& request, std::string_view method = "GET") {
    test::RawClient client(server_->port());
    client.send(request);
    return client.read_answer(method);
  }
  // With the token.
  test::Answer ask(const std::string& method, const std::string& target, const std::string& body = {}) {
    std::string request =
        method + " " + target + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + std::string(kToken) + "\r\n";
    if (!body.empty()) request += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return raw(request + "\r\n" + body, method);
  }
  // A step of the loop that owns what is behind the gateway.
  void on_domain(std::function<void()> step) {
    std::promise<void> done;
    loop_.post([&] {
      step();
      done.set_value();
    });
    done.get_future().wait();
  }
  // After such a step.
  void look_at_health(std::function<void()> step) {
    std::promise<void> done;
    std::optional<TaskGroup> looking;
    loop_.post([&] {
      step();
      looking.emplace(loop_).spawn(look_and_tell(done));
    });
    done.get_future().wait();
    on_domain([&] { looking.reset(); });
  }
  Task<void> look_and_tell(std::promise<void>& done) {
    co_await health_.look();
    done.set_value();
  }
  static std::string code_of(const test::Answer& answer) {
    const auto json = parse_json(answer.body, 1 << 20);
    const Json* error = json ? json->find("error") : nullptr;
    return error == nullptr ? "no error in: " + answer.body : error->string_or("code", "");
  }

  static NodeRow this_node() {
    NodeRow node;
    node.name = "node-1";
    return node;
  }

  UvEventLoop loop_;
  Metrics metrics_;
  EngineParts parts_{loop_};
  BlockingPool pool_{loop_, {.threads = 1}};
  Health health_{loop_, pool_, parts_.broker, parts_.state, {}, parts_.log, metrics_};
  TopicRates topic_rates_;
  TopicFeed topic_feed_{loop_, parts_.broker, {.readers_max = 3, .news_max = 10}, metrics_};
  FickleBroker fickle_{loop_, parts_.broker};
  QueueLevels levels_{loop_, fickle_, metrics_};
  Nodes nodes_{loop_, nullptr, this_node(), [](NodeRow&) {}, {}, parts_.log};
  Gateway gateway_{{.domain = loop_,
                    .registry = parts_.registry,
                    .ingest = parts_.ingest,
                    .calls = parts_.calls,
                    .replay = parts_.replay,
                    .state = parts_.state,
                    .runs = parts_.runs,
                    .feed = parts_.feed,
                    .stats = parts_.stats,
                    .logs = parts_.logs,
                    .health = health_,
                    .circuits = parts_.circuits,
                    .broker = parts_.broker,
                    .topic_rates = topic_rates_,
                    .topic_feed = topic_feed_,
                    .levels = levels_,
                    .objects = parts_.storage,
                    .admission = parts_.admission,
                    .nodes = nodes_,
                    .metrics = parts_.metrics,
                    .log = parts_.log,
                    .controls = [] { return std::vector<Control>{}; },
                    .node = "node-1",
                    .token = {},
                    .limits = {.event_bytes_max = 100, .request_bytes_max = 1000}}};
  std::unique_ptr<HttpServer> server_;
  std::thread domain_;
};

}  // namespace millrace
