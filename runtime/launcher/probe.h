// What this host and these rights allow, as Hello reports it. Tried, not guessed from versions.
#pragma once

#include "runtime/launcher/cgroup.h"
#include "runtime/launcher/container_support.h"
#include "runtime/launcher/host_rights.h"
#include "runtime/launcher/private_network.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

[[nodiscard]] Hello probe_host(const HostRights& rights, const GroupDriver& groups, const ContainerSupport& containers,
                               const PrivateNetworks& networks);

}  // namespace millrace::launcher
