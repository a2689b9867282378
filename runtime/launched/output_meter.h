// Measures what a function has written into its output directory, while it may be writing.
#pragma once

#include <cstdint>

#include "runtime/launched/outcome.h"

namespace millrace::launched {

inline constexpr std::size_t kOutputDepthMax = 64;  // of directories; what lies deeper is not counted

// Counts regular files, symbolic links never followed. Stops once `limits` are passed. What the function hides from the
// daemon (a directory without permissions) is not seen. Blocks: for a thread of a pool.
[[nodiscard]] OutputSize measure_outputs(int directory, const LimitsSpec& limits);

}  // namespace millrace::launched
