// The broker without a disk: everything is gone with the process. For tests, trials and the simulation; as a producer's
// target it needs `allow_weak_durability`.
//
//   auto broker = make_memory_broker({}, loop, metrics);
#pragma once

#include <cstddef>
#include <memory>

#include "async/event_loop.h"
#include "broker/broker.h"
#include "telemetry/metrics.h"

namespace millrace {

struct MemoryBrokerOptions {
  std::uint64_t bytes_max = 256ULL << 20;  // of all messages; full is `no_space`
  std::size_t dedupe_ids_max = 1'000'000;  // remembered per topic, the oldest are forgotten first
  std::size_t topics_max = 10'000;
  std::uint64_t topic_bytes_max = 1ULL << 40;  // of each topic; beyond them publishes get `no_space`
  std::uint64_t topic_messages_max = 10'000'000;
};

[[nodiscard]] std::unique_ptr<Broker> make_memory_broker(MemoryBrokerOptions options, EventLoop& loop,
                                                         Metrics& metrics);

}  // namespace millrace
