// Watching what goes on: runs as they change, a log as it is written, events as they are published.
#pragma once

#include <string>

#include "cli/context.h"
#include "core/error.h"

namespace millrace::cli {

// Prints runs as they start, fail and end, until the server leaves.
[[nodiscard]] Result<int> follow_runs(Context& context, const std::string& function);

// Prints what a run writes, until it is over; 0 if it succeeded.
[[nodiscard]] Result<int> follow_log(Context& context, const std::string& run_id);

// Prints what is published on a topic, until the topic is removed or the server leaves.
[[nodiscard]] Result<int> follow_topic(Context& context, const std::string& topic);

}  // namespace millrace::cli
