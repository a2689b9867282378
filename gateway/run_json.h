// A run that goes on, as the API shows it.
#pragma once

#include "engine/live_run.h"
#include "engine/run_feed.h"
#include "formats/json.h"

namespace millrace {

[[nodiscard]] Json live_json(const LiveRun& run);

// The same with `outcome`, `reason`, exit code and usage once it has ended.
[[nodiscard]] Json news_json(const RunNews& news);

}  // namespace millrace
