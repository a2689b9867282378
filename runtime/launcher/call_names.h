// The names of x86_64's system calls, by which OCI runtimes know them.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace::launcher {

// Empty for a number that has no call, or one younger than Linux 5.17, whose name older runtimes do not know either.
[[nodiscard]] std::string_view call_name(std::uint32_t number);

}  // namespace millrace::launcher
