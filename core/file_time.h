// Times of files as the numbers that versions of objects hold.
#pragma once

#include <cstdint>
#include <ctime>
#include <limits>

namespace millrace {

// Since 1970. Dates that so many bits cannot hold, which file systems do know, are the nearest that they can: the same
// each time, and in the same order as others.
[[nodiscard]] inline std::int64_t nanoseconds_of(const std::timespec& time) {
  using Limits = std::numeric_limits<std::int64_t>;
  constexpr std::int64_t kPerSecond = 1'000'000'000;
  const std::int64_t seconds = time.tv_sec;
  if (seconds >= Limits::max() / kPerSecond) return Limits::max();
  if (seconds <= Limits::min() / kPerSecond) return Limits::min();
  return seconds * kPerSecond + time.tv_nsec;
}

}  // namespace millrace
