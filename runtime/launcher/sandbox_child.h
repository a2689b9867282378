// The way of a child from clone to exec. Everything it needs lies ready in a ChildPlan, made by spawn.cc before the
// clone: the child itself shares its parent's memory and makes raw system calls only. A spare sandbox goes half of the
// way before its run is known.
#pragma once

#include <sys/resource.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/launcher/protocol.h"

struct sock_fprog;  // NOLINT(readability-identifier-naming): of the kernel

namespace millrace::launcher {

struct ChildInput {
  const char* name = nullptr;
  int fd = -1;  // a detached mount, or the file itself
  InputMode mode = InputMode::mount;
};

// A path of /proc that is covered: a file by our own /dev/null, a directory by an empty one. Never by what an image has
// there, which could be anything.
struct ProcMask {
  const char* source = nullptr;
  const char* target = nullptr;
};

struct ChildLimit {
  int resource = 0;
  rlimit value{};
};

struct ChildPlan {
  // Both kinds.
  std::array<int, 3> stdio{-1, -1, -1};  // above 2
  std::span<const int> group_tasks;      // v1 `tasks` files, opened by root
  std::span<const ChildLimit> limits;
  const char* working_directory = nullptr;
  const char* const* argv = nullptr;
  const char* const* environment = nullptr;
  std::span<const char* const> candidates;  // paths to try in this order
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool change_user = false;          // false: it has the only id there is, without root
  bool take_back_oom_score = false;  // its parent is never killed for memory, and it must not inherit that
  bool die_with_parent = false;
  bool adopt_orphans = false;    // the only sure way to find a tree again without cgroups
  std::uint32_t parent_pid = 0;  // checked with die_with_parent

  // Containers only.
  bool container = false;
  int network = -1;                       // namespace to enter; -1: stay
  const char* scratch_options = nullptr;  // of the tmpfs on /tmp and /dev/shm
  std::span<const ProcMask> proc_masks;
  bool protect_proc_sys = false;        // its id owns some of /proc/sys, as those of the network namespace
  std::uint64_t capabilities = 0;       // kept, within the user namespace
  bool copy_on_write = false;           // put the root together from what directory_image.h names
  bool secrets = false;                 // with those
  const char* upper_options = nullptr;  // of the tmpfs that takes the changes
  const char* hostname = nullptr;
  std::size_t hostname_size = 0;
  int output = -1;           // detached mount
  bool owns_inputs = false;  // template and run are one user: what the one made, the other might change
  std::span<ChildInput> inputs;
  const sock_fprog* filter = nullptr;

  // Written by the child.
  volatile Step step = Step::clone;
  volatile int error = 0;              // 0 after the parent resumed: the program was exec'ed
  volatile std::uint64_t exec_us = 0;  // when, CLOCK_MONOTONIC
};

// Capabilities of Profile::compat, as bits: what images need that start as root and then become somebody else. All act
// on what belongs to the function's user namespace only; none of them mounts, traces, or reaches a device.
[[nodiscard]] std::uint64_t compat_capabilities();

// The child's entry; `plan` is a ChildPlan. Returns only on failure, with step and error set.
void sandbox_child(void* plan);

// Its two halves: what is the same for all runs of a template with the same limits, for which false says that it
// failed; and the rest, from the run's files to its exec, which returns only on failure. Step and error as above.
[[nodiscard]] bool set_up_sandbox(ChildPlan& plan);
void begin_in_sandbox(ChildPlan& plan);

}  // namespace millrace::launcher
