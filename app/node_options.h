// What a daemon is among several: its roles, its name, the folder that it shares; and whether it can be one of several.
#pragma once

#include <string_view>

#include "app/config.h"
#include "core/error.h"

namespace millrace {

// Of the table of options.
[[nodiscard]] Result<void> set_roles(Config& config, std::string_view value);
[[nodiscard]] Result<void> set_node(Config& config, std::string_view value);
[[nodiscard]] Result<void> set_bucket_directory(Config& config, std::string_view value);

// An error for a daemon with fewer roles than all on a broker or a state store that serves one.
[[nodiscard]] Result<void> check_roles(const Config& config);

// Whether this daemon has the role: "gateway", "producer" or "worker".
[[nodiscard]] bool has_role(const Config& config, std::string_view role);

// Whether several daemons can share broker and state store.
[[nodiscard]] bool is_shareable(const Config& config);

}  // namespace millrace
