// Storage paths as authors write them: "bucket" or "bucket/folder".
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace {

enum class PathUse : bool { input, output };

// The path without a trailing '/'. `invalid_argument` for anything that is not a bucket (1 to 63 of a-z, 0-9, '.' and
// '-', beginning with a letter or digit) with folders behind it: absolute, empty, "." and ".." parts, ".millrace",
// braces (but for {run}, {event} and {name} in the folders of an output), control characters, more than 1,024 bytes.
[[nodiscard]] Result<std::string> parse_storage_path(std::string_view text, PathUse use);

}  // namespace millrace
