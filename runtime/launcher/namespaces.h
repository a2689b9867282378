// Trying namespaces, and making those that are kept alive by a descriptor only.
#pragma once

#include <string>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::launcher {

// Whether this host lets us make every kind of namespace that a sandbox has. The error names the first that it refuses.
[[nodiscard]] Result<void> try_namespaces();

// A user namespace with these maps: lines of "<id inside> <id outside> <count>". Needs root.
[[nodiscard]] Result<Fd> make_user_namespace(const std::string& uid_map, const std::string& gid_map);

// A network namespace with nothing but a loopback interface that is up; owned by the caller's user namespace. The
// caller itself is in it afterwards, so only templates call this. /proc must be the caller's.
[[nodiscard]] Result<Fd> enter_new_network_namespace();

// True when no TCP or UDP socket is left in the network namespace that the caller is in, not even one in TIME_WAIT.
[[nodiscard]] bool network_namespace_is_clean();

}  // namespace millrace::launcher
