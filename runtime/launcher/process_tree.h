// Ending a tree of processes without control groups: by its parentage. The launcher and the first process of each run
// are subreapers, so an orphan never leaves the tree while its root lives, and becomes a child of the launcher after.
#pragma once

#include <sys/types.h>

#include <vector>

namespace millrace::launcher {

inline constexpr std::size_t kTreeMembersMax = 65'536;

// The present children of a process; empty if it is gone.
[[nodiscard]] std::vector<pid_t> children_of(pid_t parent);

// Stops `root` and everything below it until nothing new appears, then kills all of it. `root` must be a child of the
// caller that was not waited for yet, so that its number means it. A child that was forked at the last moment becomes
// the caller's when its parent dies.
void kill_tree(pid_t root);

}  // namespace millrace::launcher
