// The launcher's program, embedded in this executable at build time (runtime/launcher/CMakeLists.txt).
#pragma once

#include <cstddef>
#include <span>

extern "C" {
extern const unsigned char millrace_launcher_begin[];  // NOLINT: the linker's names
extern const unsigned char millrace_launcher_end[];    // NOLINT
}

namespace millrace {

[[nodiscard]] inline std::span<const std::byte> launcher_image() {
  return std::as_bytes(std::span(millrace_launcher_begin, millrace_launcher_end));
}

}  // namespace millrace
