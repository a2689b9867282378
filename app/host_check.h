// `millrace check`: tries what this host can do and says what is missing and how to enable it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/config.h"
#include "core/error.h"
#include "runtime/executor.h"

namespace millrace {

// One line per thing tried. Starts a launcher of its own for what needs one, and leaves nothing behind.
[[nodiscard]] std::vector<Control> check_host(const Config& config);

// `failed_precondition`, with the remedy, for a path of the option that is a link, or lies behind one: such paths are
// known by where they really lie. Of one that does not exist, what is there of it counts.
[[nodiscard]] Result<void> check_real_name(std::string_view option, const std::string& path);

// What the file system below `directory` can do for outputs: attributes, exchanging names, reflinks, free space.
[[nodiscard]] std::vector<Control> check_file_system(const std::string& directory);

}  // namespace millrace
