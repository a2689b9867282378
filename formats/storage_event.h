// The event a function reads about a stored object: the JSON that S3 stores send to webhooks, in MinIO's shape, which
// OSCAR's functions expect on stdin and in EVENT.
#pragma once

#include <chrono>
#include <string>

#include "core/event.h"
#include "core/ids.h"

namespace millrace {

[[nodiscard]] std::string storage_event_json(const ObjectRef& object, std::chrono::system_clock::time_point time,
                                             const EventId& id);

}  // namespace millrace
