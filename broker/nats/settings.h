// What our streams and consumers are at the server, and whether one that stands under such a name is ours. What it is
// must be as we make it: one of somebody else is never changed, since that may delete what it holds. What we change
// ourselves from time to time (bounds, replicas, leases, subjects that a later version adds) may differ.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/nats/names.h"
#include "broker/nats/nats_options.h"
#include "core/error.h"
#include "formats/json.h"

namespace millrace::nats {

// The configuration of a topic's stream but for what its spec says, and of those that all topics share.
[[nodiscard]] Json topic_stream(const Names& names, std::string_view topic);
[[nodiscard]] Json dead_stream(const Names& names, const NatsBrokerOptions& options);
[[nodiscard]] Json begun_stream(const Names& names, const NatsBrokerOptions& options);

// That of a durable pull consumer; `from`: as Core::make_consumer.
[[nodiscard]] Json durable_consumer(const std::string& name, const std::vector<std::string>& filters,
                                    std::chrono::milliseconds lease, std::uint64_t from);

// failed_precondition that names the first setting that is not ours. `there`: the configuration as the server tells it;
// `ours`: as we would make it.
[[nodiscard]] Result<void> check_stream(const Json& there, const Json& ours);
// Of the server's whole answer about a consumer: it also says whether somebody has paused it.
[[nodiscard]] Result<void> check_consumer(const Json& info, const Json& ours);

// `there` with all that `ours` says; what others set or noted beside it stays.
[[nodiscard]] Json changed_to(const Json& there, const Json& ours);

// Whether all that is wanted is there, whatever else is.
[[nodiscard]] bool says_all(const Json& there, const Json& wanted);

}  // namespace millrace::nats
