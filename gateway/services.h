// What the routes may use. All of it lives on the domain loop; a route runs on an io thread and goes there by
// on_domain().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "async/call_on.h"
#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "engine/admission.h"
#include "engine/circuits.h"
#include "engine/health.h"
#include "engine/ingest.h"
#include "engine/live_logs.h"
#include "engine/nodes.h"
#include "engine/queue_levels.h"
#include "engine/registry.h"
#include "engine/replay.h"
#include "engine/run_feed.h"
#include "engine/run_stats.h"
#include "engine/run_table.h"
#include "engine/synchronous.h"
#include "engine/topic_feed.h"
#include "engine/topic_rates.h"
#include "net/http_exchange.h"
#include "runtime/executor.h"
#include "state/state_store.h"
#include "storage/object_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

struct GatewayLimits {
  std::size_t event_bytes_max = kEventBytesMax;
  std::uint64_t object_bytes_max = 5ULL << 40;
  std::size_t request_bytes_max = 8 << 20;                         // of JSON and FDL
  std::chrono::milliseconds call_hold = std::chrono::seconds(30);  // how long a synchronous call waits for a slot
  std::chrono::milliseconds wait_max = std::chrono::hours(24);     // of `wait --idle`
};

struct Services {
  EventLoop& domain;
  Registry& registry;
  Ingest& ingest;
  SynchronousCalls& calls;
  Replay& replay;
  StateStore& state;
  RunTable& runs;
  RunFeed& feed;
  RunStats& stats;
  LiveLogs& logs;
  Health& health;
  Circuits& circuits;
  Broker& broker;
  TopicRates& topic_rates;
  TopicFeed& topic_feed;
  QueueLevels& levels;
  ObjectStore& objects;
  Admission& admission;
  Nodes& nodes;
  Metrics& metrics;
  Log& log;
  std::function<std::vector<Control>()> controls;  // on the domain loop
  std::string node;
  std::string token;
  bool has_api = true;  // false: health and metrics, nothing else
  GatewayLimits limits;
};

// Runs the task that `make_task()` makes on the domain loop and comes back to the request's io loop with its value. It
// runs to its end there even when the client leaves.
template <class Function>
[[nodiscard]] auto on_domain(Services& services, HttpRequest& request, Function make_task) {
  return call_on(services.domain, request.loop(), {},
                 [function = std::move(make_task)](const std::stop_token&) mutable { return function(); });
}

// The same for what is pointless without a client: `make_task` gets a token of the domain loop that is requested when
// the client leaves.
template <class Function>
[[nodiscard]] auto on_domain_while_wanted(Services& services, HttpRequest& request, Function make_task) {
  return call_on(services.domain, request.loop(), request.stop_token(), std::move(make_task));
}

// The same for a plain function of domain state that waits for nothing.
template <class Function>
[[nodiscard]] Task<std::invoke_result_t<Function&>> as_task(Function function) {
  co_return function();
}
template <class Function>
[[nodiscard]] auto ask_domain(Services& services, HttpRequest& request, Function function) {
  return call_on(services.domain, request.loop(), {}, [function = std::move(function)](const std::stop_token&) mutable {
    return as_task(std::move(function));
  });
}

}  // namespace millrace
