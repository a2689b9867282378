// Measures what a function has written into its output directory, while it may be writing.
#pragma once

#include <cstdint>

#include "runtime/launched/outcome.h"

namespace millrace::launched {

inline constexpr std::size_t kOutputDepthMax = 64;  // of directories, one descriptor each; deeper ones are `too_deep`

// Counts regular files, symbolic links never followed. Stops once `limits` are passed. A folder that the function made
// unreadable gets its owner's rights back. Blocks: for a thread of a pool.
[[nodiscard]] OutputSize measure_outputs(int directory, const LimitsSpec& limits);

}  // namespace millrace::launched
