// What benchmarks of brokers share: a broker on a loop of its own that runs while something is awaited, the message
// they publish, and what idle topics cost.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "async/task.h"
#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "broker/broker.h"
#include "core/error.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace::bench {

// Of kMessageBytes; the number is its id.
[[nodiscard]] Outgoing message(std::uint64_t number);

template <class T>
T value_of(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class BrokerBench {
 public:
  // `open`: Task<Result<std::unique_ptr<Broker>>>(EventLoop&, Metrics&, Log&).
  template <class Open>
  explicit BrokerBench(Open open) : broker_(value_of(await(open(loop_, metrics_, log_)))) {}
  BrokerBench(const BrokerBench&) = delete;
  BrokerBench& operator=(const BrokerBench&) = delete;

  template <class T>
  T await(Task<T> task) {
    std::optional<T> value;
    TaskGroup group(loop_);
    group.spawn(keep(std::move(task), value));
    loop_.run();
    return std::move(*value);
  }
  [[nodiscard]] Broker& broker() { return *broker_; }
  [[nodiscard]] UvEventLoop& loop() { return loop_; }

  // Of a topic that is made where it is missing; its group is "g".
  [[nodiscard]] std::unique_ptr<Subscription> subscribe(const std::string& topic);

 private:
  template <class T>
  Task<void> keep(Task<T> task, std::optional<T>& value) {
    auto got = co_await std::move(task);
    value.emplace(std::move(got));
    loop_.stop();
  }

  UvEventLoop loop_;
  Metrics metrics_;
  Log log_{{.level = LogLevel::error}};
  std::unique_ptr<Broker> broker_;
};

// Percent of a core that so many subscribed topics without messages cost this process.
[[nodiscard]] double idle_topics(BrokerBench& bench, std::uint64_t topics, double seconds);

}  // namespace millrace::bench
