// What this host has, for defaults that depend on it.
#pragma once

#include <cstdint>
#include <string>

namespace millrace {

[[nodiscard]] std::uint64_t host_memory_bytes();
[[nodiscard]] std::uint32_t host_cores();  // those this process may use
[[nodiscard]] std::string host_name();

}  // namespace millrace
