// Quantities as people write them: "512Mi", "0.5", "250m", "90s". Parsing is strict: what is not understood is an error
// that says what was expected. Sources: Kubernetes quantities (as OSCAR's FDL uses them), Go durations.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace {

// Bytes: an integer or decimal with an optional k, M, G, T, P (powers of 1000) or Ki, Mi, Gi, Ti, Pi (of 1024), or an
// exponent ("1e9"). Rounds up to whole bytes. Negative, empty and anything above 2^63-1 is invalid_argument.
[[nodiscard]] Result<std::uint64_t> parse_bytes(std::string_view text);

// Thousandths of a core: "0.5" is 500, "250m" is 250, "2" is 2000. Rounds up; at most 1,000,000 cores.
[[nodiscard]] Result<std::uint32_t> parse_millicores(std::string_view text);

// A duration: one or more numbers with unit ms, s, m, h or d ("1h30m", "0.5s"), or "0". A bare number other than 0 is
// refused, since its unit would be a guess. At most 10 years.
[[nodiscard]] Result<std::chrono::milliseconds> parse_duration(std::string_view text);

// The shortest text that parses back to the same value: 536870912 is "512Mi", 1000 is "1000".
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);
[[nodiscard]] std::string format_millicores(std::uint32_t millicores);
[[nodiscard]] std::string format_duration(std::chrono::milliseconds duration);

}  // namespace millrace
