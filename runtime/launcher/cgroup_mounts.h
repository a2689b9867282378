// Where the host has its cgroup hierarchies, and how a directory tree in them is emptied.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace millrace::launcher {

struct CgroupMounts {
  // v1 mount points; cpu and cpuacct are often one.
  std::string cpu;
  std::string cpuacct;
  std::string memory;
  std::string pids;
  std::string v2;                 // the unified hierarchy, on a hybrid host without controllers
  std::string v2_root;            // which of its groups is mounted there: "/" but in some containers
  std::vector<std::string> v1{};  // every v1 mount point, also of controllers that we do not use

  // Every different mount point above.
  [[nodiscard]] std::vector<std::string> hierarchies() const;
};

// From the text of /proc/self/mountinfo.
[[nodiscard]] CgroupMounts parse_cgroup_mounts(std::string_view mountinfo);
[[nodiscard]] CgroupMounts find_cgroup_mounts();

// The processes listed in `directory`/cgroup.procs that this pid namespace has a number for.
[[nodiscard]] std::vector<pid_t> members_of(int directory);

// Sends SIGKILL to every process listed in `directory`/cgroup.procs (a descriptor of the group).
void kill_members(int directory);

// Kills everything in the group at `path` and below it and removes the directories; gives up on a group that is not
// empty after `patience_ms`.
void sweep_group(const std::string& path, int patience_ms);

}  // namespace millrace::launcher
