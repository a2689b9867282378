// Brokers on one real loop beside a nats-server of the test's own: each broker is a connection and a life of its own,
// as processes on several machines are.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "async/sleep.h"
#include "broker/nats/nats_broker.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/support/nats_server.h"
#include "tests/support/run_task.h"

namespace millrace::test {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How a call ended, by code: "ok" or the name of the error.
template <class T>
[[nodiscard]] std::string outcome(const Result<T>& result) {
  return result ? "ok" : std::string(name_of(result.error().code));
}

class NatsRig {
 public:
  UvEventLoop loop;
  Metrics metrics;
  Log log{{.level = LogLevel::error}};

  template <class T>
  T await(Task<T> task) {
    return run_task(loop, std::move(task));
  }

  [[nodiscard]] static NatsBrokerOptions options(const std::string& url) {
    NatsBrokerOptions options;
    options.url = url;
    options.synced = true;
    options.connect_for = milliseconds(100);
    options.ping_interval = milliseconds(200);
    options.reconnect_wait = milliseconds(20);
    options.request_timeout = milliseconds(1000);
    options.dead_bytes_max = 64 << 20;
    return options;
  }
  [[nodiscard]] Result<std::unique_ptr<Broker>> try_open(NatsBrokerOptions options) {
    return await(open_nats_broker(std::move(options), loop, metrics, log));
  }
  [[nodiscard]] std::unique_ptr<Broker> open(NatsBrokerOptions options) {
    auto opened = try_open(std::move(options));
    EXPECT_EQ(outcome(opened), "ok") << (opened ? "" : opened.error().message);
    if (!opened) std::abort();
    return std::move(*opened);
  }

  [[nodiscard]] static Outgoing message(const std::string& id, std::string data, std::string key = {}) {
    Outgoing message{.id = id, .event = {}, .key = std::move(key)};
    message.event.id = EventId("0123456789abcdef0123456789abcdef");
    message.event.source = "test";
    message.event.source_id = id;
    message.event.type = "test.event";
    message.event.order = Order("01HZZZZZZZZZZZZZZZZZZZZZZZ");
    message.event.data = std::move(data);
    return message;
  }
  [[nodiscard]] Result<Receipt> publish(Broker& broker, Outgoing message, const std::string& topic = "t") {
    std::vector<Outgoing> batch;
    batch.push_back(std::move(message));
    auto receipts = await(broker.publish(topic, std::move(batch)));
    return std::move(receipts.at(0));
  }
  void make_topic(Broker& broker, milliseconds lease = seconds(30)) {
    const auto made = await(broker.ensure({.name = "t", .groups = {"g"}, .lease = lease}));
    ASSERT_EQ(outcome(made), "ok") << (made ? "" : made.error().message);
  }
  [[nodiscard]] std::unique_ptr<Subscription> subscribe(Broker& broker, std::uint32_t credit = 1000) {
    auto made = await(broker.subscribe({.topic = "t", .group = "g"}));
    EXPECT_EQ(outcome(made), "ok");
    if (!made) std::abort();
    (*made)->grant(credit);
    return std::move(*made);
  }
  [[nodiscard]] std::unique_ptr<Delivery> next(Subscription& subscription) {
    auto delivery = await(subscription.next({}));
    EXPECT_EQ(outcome(delivery), "ok");
    if (!delivery) std::abort();
    return std::move(*delivery);
  }
  // Asks again and again until it is so.
  void until(const std::function<bool()>& done) {
    while (!done()) pause(milliseconds(5));
  }
  // Lets the loop go on; nothing may depend on how long this takes.
  void pause(milliseconds span) { [[maybe_unused]] const auto slept = await(sleep_for(loop, span)); }
};

}  // namespace millrace::test
