// What a confirmation of these servers is worth.
//
// A client sees the replicas and the kind of storage of its streams, not whether the server syncs its
// files before it confirms: servers wait up to two minutes with that unless they are told `sync_interval: always`.
// Their monitoring page tells.
#pragma once

#include <string>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "broker/nats/nats_options.h"
#include "core/error.h"
#include "formats/json.h"

namespace millrace::nats {

struct Assessment {
  Durability durability = Durability::memory;
  std::string why;  // for people
};

// `stream` is the server's answer about one of our streams.
[[nodiscard]] Assessment assess(const Json& stream, const NatsBrokerOptions& options, const Result<bool>& syncs);

// Whether the server of the monitoring page syncs always.
[[nodiscard]] Task<Result<bool>> ask_monitor(EventLoop& loop, std::string monitor_url);
[[nodiscard]] Result<bool> syncs_always(const Json& jsz);

}  // namespace millrace::nats
