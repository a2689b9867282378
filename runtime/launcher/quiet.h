// Whether any process holds a regular file open for writing, asked of the kernel by taking a read lease for a moment.
#pragma once

#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

// `fd` is open O_RDONLY. Needs CAP_LEASE or the file's own user; a writer that opens it meanwhile waits microseconds.
// All signals must be blocked: the lease's end would raise SIGIO.
[[nodiscard]] Quietness check_quiet(int fd);

}  // namespace millrace::launcher
