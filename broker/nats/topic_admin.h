// What a topic is on the servers right now, and how it goes.
#pragma once

#include <string>

#include "async/task.h"
#include "broker/broker.h"
#include "broker/nats/core.h"
#include "core/error.h"

namespace millrace::nats {

// The server is asked: another process may have made or changed it. `not_found`.
[[nodiscard]] Task<Result<TopicInfo>> describe(Core& core, std::string topic);

// Its stream goes with all consumers, and its dead letters and attempts. `not_found`.
[[nodiscard]] Task<Result<void>> remove_topic(Core& core, std::string topic);

}  // namespace millrace::nats
