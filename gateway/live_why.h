// What a run is doing that is not over, or what it waits for, for `why`.
#pragma once

#include <string>
#include <vector>

#include "async/task.h"
#include "core/error.h"
#include "formats/json.h"
#include "gateway/services.h"

namespace millrace {

// Of a run's id that run, of an event's id those of every function; empty: nothing that goes on is known by this id. On
// the domain loop.
[[nodiscard]] Task<Result<std::vector<Json>>> what_goes_on(Services& services, std::string id);

// A run's attempts that have an end other than success, numbered as they were made: when, where, and how they ended.
[[nodiscard]] Json failed_attempts_json(const std::vector<Attempt>& attempts);

}  // namespace millrace
