// A log broker on fake files and a loop whose time the test moves, with calls that wait for their result.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "async/task.h"
#include "async/task_group.h"
#include "broker/log/log_broker.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/support/fake_log_files.h"
#include "tests/support/manual_loop.h"

namespace millrace::wal {

inline constexpr std::uint64_t kMiB = 1 << 20;

class LogBench {
 public:
  explicit LogBench(std::shared_ptr<FakeLogFiles> files = std::make_shared<FakeLogFiles>()) : files(std::move(files)) {
    options.segment_bytes = kMiB;
    options.ack_linger = {};  // time does not go on by itself here
  }
  ~LogBench() { drop(); }

  template <class T>
  T await(Task<T> task) {
    std::optional<T> value;
    TaskGroup group(loop);
    group.spawn(store(std::move(task), value));
    if (!loop.run_until([&] { return value.has_value(); })) {
      ADD_FAILURE() << "a call does not come back";
      std::abort();
    }
    return std::move(*value);
  }

  // "ok", or the message of the error.
  std::string open() {
    auto opened = await(open_log_broker(options, files, loop, metrics, log));
    if (!opened) return opened.error().message;
    broker = std::move(*opened);
    return "ok";
  }
  void must_open() {
    const std::string outcome = open();
    if (outcome == "ok") return;
    ADD_FAILURE() << outcome;
    std::abort();
  }
  // As in a crash: nothing is closed.
  void drop() { broker.reset(); }
  void close() { await(closing()); }
  void reopen() {
    drop();
    must_open();
  }

  void make_topic(const std::string& name = "t") {
    const auto made = await(broker->ensure({.name = name, .groups = {"g"}}));
    if (!made) ADD_FAILURE() << made.error().message;
  }

  static Outgoing message(const std::string& id, std::string data) {
    Outgoing out{.id = id, .event = {}, .delay = {}};
    out.event.id = EventId("0123456789abcdef0123456789abcdef");
    out.event.source = "test";
    out.event.source_id = id;
    out.event.type = "test";
    out.event.data = std::move(data);
    return out;
  }
  Result<Receipt> publish(const std::string& id, std::string data, const std::string& topic = "t") {
    std::vector<Outgoing> batch;
    batch.push_back(message(id, std::move(data)));
    auto receipts = await(broker->publish(topic, std::move(batch)));
    return std::move(receipts[0]);
  }
  std::unique_ptr<Subscription> subscribe(const std::string& topic = "t") {
    auto made = await(broker->subscribe({.topic = topic, .group = "g"}));
    if (!made) ADD_FAILURE() << made.error().message;
    (*made)->grant(1'000'000);
    return std::move(*made);
  }
  std::unique_ptr<Delivery> next(Subscription& subscription) {
    auto delivery = await(subscription.next({}));
    if (!delivery) ADD_FAILURE() << delivery.error().message;
    return delivery ? std::move(*delivery) : nullptr;
  }
  Lag lag(const std::string& topic = "t") {
    const auto found = await(broker->lag(topic, "g"));
    return found.value_or(Lag{});
  }
  // Ids (as source_id) of all that is pending, acked.
  std::multiset<std::string> drain(const std::string& topic = "t") {
    std::multiset<std::string> ids;
    const auto subscription = subscribe(topic);
    while (lag(topic).pending > 0) {
      const auto delivery = next(*subscription);
      if (!delivery) break;
      ids.insert(delivery->event().source_id);
      const auto acked = await(delivery->ack());
      if (!acked) ADD_FAILURE() << acked.error().message;
    }
    return ids;
  }
  [[nodiscard]] std::vector<std::string> segments() const {
    std::vector<std::string> names;
    for (const auto& name : files->names()) {
      if (name.starts_with("log-")) names.push_back(name);
    }
    return names;
  }

  ManualLoop loop;
  Metrics metrics;
  Log log{{.level = LogLevel::error, .fd = -1}};
  LogBrokerOptions options;
  std::shared_ptr<FakeLogFiles> files;
  std::unique_ptr<Broker> broker;

 private:
  template <class T>
  static Task<void> store(Task<T> task, std::optional<T>& value) {
    T result = co_await task;
    value.emplace(std::move(result));
  }
  Task<bool> closing() {
    co_await broker->close();
    co_return true;
  }
};

}  // namespace millrace::wal
