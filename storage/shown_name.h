// Names that others chose, for error messages and logs.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// `name` with control characters replaced by '?' and cut after 200 bytes.
[[nodiscard]] std::string shown_name(std::string_view name);

}  // namespace millrace
