// Base 64 with padding, RFC 4648 section 4.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace {

[[nodiscard]] std::string base64_encode(std::string_view bytes);

// Strict: no spaces, no missing padding, no bits that are left over.
[[nodiscard]] Result<std::string> base64_decode(std::string_view text);

}  // namespace millrace
