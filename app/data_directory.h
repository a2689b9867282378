// The data directory: one directory holds everything, belongs to the daemon's user, and says which format it has.
//
//   <data>/version  lock  log/  state.db  buckets/  functions/  scratch/  admin-token  listen
#pragma once

#include <optional>
#include <string>

#include "app/child_process.h"
#include "core/error.h"
#include "core/fd.h"

namespace millrace {

// Makes the directory (mode 0711: users reach their buckets through it, and read nothing else) and what lies in it, and
// gives it to `user`. Errors name path and remedy: not writable, not ours, or of a newer format, which is left
// untouched.
[[nodiscard]] Result<void> prepare_data_directory(const std::string& path, std::optional<UserIds> user);

// Held for as long as a server uses the directory. `failed_precondition` when another does.
[[nodiscard]] Result<Fd> lock_data_directory(const std::string& path);

// What tells this directory from every other, made at the first call: a daemon on it is the same node in each life.
[[nodiscard]] Result<std::string> load_or_make_identity(const std::string& path);

// A name of this directory for cgroups: "millrace-" and 8 hex digits of its path.
[[nodiscard]] std::string instance_name(const std::string& path);

// Replaces a small file in one step, unless it holds just that; for `listen`. `no_space` has left nothing behind.
[[nodiscard]] Result<void> write_file(const std::string& path, const std::string& text);

}  // namespace millrace
