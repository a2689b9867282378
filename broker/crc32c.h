// CRC-32C (Castagnoli), the checksum of log records: by the processor's own instruction where it has one.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

// Of `bytes` continued from `crc`, the value of what came before: crc32c(b, crc32c(a)) is crc32c(a + b).
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc = 0);

// The same by tables, for processors without the instruction.
[[nodiscard]] std::uint32_t crc32c_portable(std::string_view bytes, std::uint32_t crc = 0);

}  // namespace millrace
