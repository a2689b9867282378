// The daemon: owns the domain loop and everything on it, from its first step to its orderly end.
//
// Started by the supervisor with its life line as descriptor kDaemonLifeLine. Ends on SIGTERM or SIGINT after draining,
// or when the supervisor is gone.
#pragma once

#include "app/config.h"

namespace millrace {

// The process's exit status.
[[nodiscard]] int run_daemon(const Config& config);

}  // namespace millrace
