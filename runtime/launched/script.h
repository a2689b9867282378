// How a function's script is run: by the program its first line names, else by /bin/sh.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::launched {

// The program behind "#!", without its argument; nothing if the script has no such line.
[[nodiscard]] std::optional<std::string> interpreter_of(std::string_view script);

// argv for a script that lies at `path`.
[[nodiscard]] std::vector<std::string> argv_of(std::string_view script, const std::string& path);

}  // namespace millrace::launched
