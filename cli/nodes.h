// Nodes as a table.
#pragma once

#include "cli/table.h"
#include "formats/json.h"

namespace millrace::cli {

// `nodes`: the list of the API's answer.
[[nodiscard]] Table nodes_table(const Json& nodes);

}  // namespace millrace::cli
