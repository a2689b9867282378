// Keeps a second process away from the database: a lock on a file beside it, gone with this process however it ends.
#pragma once

#include <string>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::sqlite {

// Locks `<path>.lock` and makes sure that `path` itself exists, readable by this user only: function specs hold
// secrets. `failed_precondition` with the owner's process id when another process has it.
[[nodiscard]] Result<Fd> lock_database(const std::string& path);

}  // namespace millrace::sqlite
