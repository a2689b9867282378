// Options of the table whose values are lists, separated by commas; blanks around an entry do not count.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/config.h"
#include "core/error.h"

namespace millrace {

// The entries of a list; none of an empty one.
[[nodiscard]] std::vector<std::string_view> list_entries(std::string_view list);

// Absolute, not the root itself, and without "//", ".", ".." and a slash at the end: one name for one place.
[[nodiscard]] bool is_plain_path(std::string_view path);

// Of the table of options.
[[nodiscard]] Result<void> set_image_directories(Config& config, std::string_view value);
[[nodiscard]] Result<void> set_oci_runtimes(Config& config, std::string_view value);
[[nodiscard]] Result<void> set_network_allow(Config& config, std::string_view value);
[[nodiscard]] Result<void> set_network_deny(Config& config, std::string_view value);
[[nodiscard]] Result<void> set_buckets(Config& config, std::string_view value);

}  // namespace millrace
