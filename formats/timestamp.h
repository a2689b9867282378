// Points in time as text: RFC 3339 in UTC, "2026-11-21T08:15:00.123Z".
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace {

// Milliseconds, rounded down, always 24 characters; for people, logs and the API.
[[nodiscard]] std::string format_timestamp(std::chrono::system_clock::time_point time);

// With 0, 3, 6 or 9 digits after the second, as many as the value needs: parses back to the same value.
[[nodiscard]] std::string format_timestamp_exact(std::chrono::system_clock::time_point time);

// Any RFC 3339 time of the years 1678 to 2261, in any offset; digits after the nanosecond are dropped. A leap second
// (":60") is refused.
[[nodiscard]] Result<std::chrono::system_clock::time_point> parse_timestamp(std::string_view text);

}  // namespace millrace
