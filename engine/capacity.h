// Whether the nodes that run functions have what a function wants to be reserved for it, its memory and its cpu, and as
// much as its limits of cpu and scratch (which is memory) let it use: a limit above the machine would be none.
//
//   auto warnings = check_capacity(function, *co_await nodes.all());
//
// A run that is larger than its node is admitted there alone (engine/admission.h), so that a function whose node has
// shrunk goes on. When a function is applied, what no node has is refused. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "core/function_spec.h"
#include "state/shared_state.h"

namespace millrace {

// Warnings: a default that no node has, what only some of them have, and that no node is there to be asked.
// `invalid_argument`: the author wrote more than any living node that runs functions has; names the field, the most
// that one has, and which.
[[nodiscard]] Result<std::vector<std::string>> check_capacity(const FunctionSpec& function,
                                                              const std::vector<NodeRow>& nodes);

}  // namespace millrace
