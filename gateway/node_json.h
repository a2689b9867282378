// A node as the API tells of it.
#pragma once

#include <vector>

#include "formats/json.h"
#include "state/shared_state.h"

namespace millrace {

[[nodiscard]] Json nodes_json(const std::vector<NodeRow>& nodes);

}  // namespace millrace
