// Checks that need more than one function.
#pragma once

#include <span>

#include "core/error.h"
#include "core/function_spec.h"

namespace millrace {

// Whether the results of a function could start it again, directly or through others, without end: an output path that
// equals an input path or lies beneath one feeds it, whatever the output's prefix and suffix filters. A function with
// recursion.max_depth may stand in such a circle. `invalid_argument` shows the circle:
// "thumbs: pics/out -> loops -> pics -> thumbs".
[[nodiscard]] Result<void> check_no_loops(std::span<const FunctionSpec> functions);

}  // namespace millrace
