#include "bench/broker_bench.h"

#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <stop_token>
#include <vector>

#include "async/sleep.h"
#include "bench/message_bytes.h"

namespace millrace::bench {
namespace {

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

Task<void> wait_for_one(Subscription& subscription, std::stop_token stop) {
  const auto delivery = co_await subscription.next(stop);
  if (delivery) std::abort();
}

}  // namespace

Outgoing message(std::uint64_t number) {
  Outgoing message{.id = std::to_string(number), .event = {}, .delay = {}};
  message.event.id = EventId("0123456789abcdef0123456789abcdef");
  message.event.source = "bench";
  message.event.source_id = message.id;
  message.event.type = "bench";
  message.event.order = Order("01HZZZZZZZZZZZZZZZZZZZZZZZ");
  message.event.data = std::string(kMessageBytes, 'x');
  return message;
}

std::unique_ptr<Subscription> BrokerBench::subscribe(const std::string& topic) {
  value_of(await(broker_->ensure({.name = topic, .groups = {"g"}})));
  return value_of(await(broker_->subscribe({.topic = topic, .group = "g"})));
}

double idle_topics(BrokerBench& bench, std::uint64_t topics, double seconds) {
  std::vector<std::unique_ptr<Subscription>> subscriptions;
  std::stop_source stop;
  TaskGroup group(bench.loop());
  for (std::uint64_t i = 0; i < topics; ++i) {
    subscriptions.push_back(bench.subscribe("idle" + std::to_string(i)));
    subscriptions.back()->grant(1);
    group.spawn(wait_for_one(*subscriptions.back(), stop.get_token()));
  }
  const double before = cpu_seconds();
  const std::chrono::duration<double> span(seconds);
  value_of(bench.await(sleep_for(bench.loop(), std::chrono::duration_cast<EventLoop::Duration>(span))));
  const double used = cpu_seconds() - before;
  stop.request_stop();
  value_of(bench.await(sleep_for(bench.loop(), {})));
  return 100 * used / seconds;
}

}  // namespace millrace::bench
