// Watching what goes on: runs as they change, and a log as it is written.
#pragma once

#include <string>

#include "cli/context.h"
#include "core/error.h"

namespace millrace::cli {

// Prints runs as they start, fail and end, until the server leaves.
[[nodiscard]] Result<int> follow_runs(Context& context, const std::string& function);

// Prints what a run writes, until it is over; 0 if it succeeded.
[[nodiscard]] Result<int> follow_log(Context& context, const std::string& run_id);

}  // namespace millrace::cli
