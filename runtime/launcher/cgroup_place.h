// Where in the v2 hierarchy the launcher may make groups. Groups with controllers hold no processes of their own, so
// who was given a group first moves itself out of it, into a group below.
//
//   - Below a unit of systemd with Delegate=yes: in the unit's group, which systemd marks as given away. Everything
//     in it (supervisor, launcher, daemon) goes into `service` below it.
//   - In a container that has a cgroup namespace: in the container's group, in the same way.
//   - Else, as root: at the root of the hierarchy, whose own processes may stay.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "runtime/launcher/cgroup_mounts.h"

namespace millrace::launcher {

inline constexpr std::string_view kServiceGroup = "service";

// The v2 group in the text of /proc/self/cgroup, "/" first; empty if there is none.
[[nodiscard]] std::string own_group_of(std::string_view text);

// The directory of the group `own` below the mount; the mount itself if the group lies outside of what it shows.
[[nodiscard]] std::string directory_of_group(const CgroupMounts& mounts, std::string_view own);

// The directory for our groups, after moving out of it where that is needed. An error says why there is none.
[[nodiscard]] Result<std::string> take_place(const CgroupMounts& mounts);

}  // namespace millrace::launcher
