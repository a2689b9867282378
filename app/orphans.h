// What the children of this process leave behind when they die: it comes to us, and ends by us.
//
//   adopt_orphans();                                  // once
//   const bool gone = end_orphans(ours, patience);    // after the death of a child
//
// Only for a process with one thread, such as the supervisor.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <span>

#include "core/error.h"

namespace millrace {

// From now on a process below this one whose parent ends becomes our child, and not the child of the machine's first
// process.
[[nodiscard]] Result<void> adopt_orphans();

// Kills every child of this process but `ours`, with all below it, and reaps it; again until none is left, for the
// children of the killed come to us in turn. False if some were still there after `patience`: the kernel lets go of a
// process in the middle of an input or output only when that ends. Blocks.
[[nodiscard]] bool end_orphans(std::span<const pid_t> ours, std::chrono::milliseconds patience);

}  // namespace millrace
