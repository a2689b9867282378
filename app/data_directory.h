// The data directory: one directory holds everything, belongs to the daemon's user, and says which format it has.
//
//   <data>/version  log/  state.db  buckets/  functions/  scratch/  admin-token  listen
#pragma once

#include <optional>
#include <string>

#include "app/child_process.h"
#include "core/error.h"

namespace millrace {

// Makes the directory (mode 0711: users reach their buckets through it, and read nothing else) and what lies in it, and
// gives it to `user`. Errors name path and remedy: not writable, not ours, or of a newer format, which is left
// untouched.
[[nodiscard]] Result<void> prepare_data_directory(const std::string& path, std::optional<UserIds> user);

// A name of this directory for cgroups: "millrace-" and 8 hex digits of its path.
[[nodiscard]] std::string instance_name(const std::string& path);

// Replaces a small file in one step; for `listen`.
[[nodiscard]] Result<void> write_file(const std::string& path, const std::string& text);

}  // namespace millrace
