// The live table of functions.
#pragma once

#include "cli/table.h"
#include "formats/json.h"

namespace millrace::cli {

// Of an answer of /api/v1/top.
[[nodiscard]] Table top_table(const Json& answer);

}  // namespace millrace::cli
