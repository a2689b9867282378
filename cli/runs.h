// Fetching runs, page by page.
#pragma once

#include <cstddef>
#include <string>

#include "cli/context.h"
#include "core/error.h"
#include "formats/json.h"

namespace millrace::cli {

struct RunsWanted {
  std::string function;
  std::string outcome;
  std::string since;  // "1h"
  std::size_t limit = 50;
};

struct RunsFound {
  Json::Array runs;        // those that go on first, then newest first
  bool truncated = false;  // the limit was reached; there may be more
  bool more_live = false;  // more go on than one answer holds, and no other page has those
};

[[nodiscard]] Result<RunsFound> fetch_runs(Client& client, const RunsWanted& wanted);

}  // namespace millrace::cli
