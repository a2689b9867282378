// The broker on NATS servers with JetStream: for several nodes, and for events that others publish or read.
//
//   auto broker = co_await open_nats_broker({.url = "nats://host:4222"}, loop, metrics, log);
//
// Topics are streams, groups are durable consumers; how each promise of the port is kept stands in broker/README.md.
#pragma once

#include <memory>
#include <string>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "broker/nats/nats_options.h"
#include "core/error.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

// Waits for the servers as long as `connect_for` says. Errors: invalid_argument (options), permission_denied (login),
// failed_precondition (no JetStream, or a stream of ours with settings that are not ours), unavailable.
[[nodiscard]] Task<Result<std::unique_ptr<Broker>>> open_nats_broker(NatsBrokerOptions options, EventLoop& loop,
                                                                     Metrics& metrics, Log& log);

// What a confirmation there would be worth, and why, without making anything there: "synced: the server has ...".
[[nodiscard]] Task<Result<std::string>> describe_nats_broker(NatsBrokerOptions options, EventLoop& loop, Log& log);

}  // namespace millrace
