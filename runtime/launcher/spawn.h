// From a Spawn request to a running process. SpawnPlan owns every string and array that a ChildPlan points to, checks
// what can be checked beforehand, and does the clone. Used by templates for containers and by the launcher itself for
// the kind `process`.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/fd.h"
#include "runtime/launcher/protocol.h"
#include "runtime/launcher/sandbox_child.h"
#include "runtime/launcher/vm_clone.h"

namespace millrace::launcher {

inline constexpr std::uint64_t kScratchBytesDefault = 64 * 1024 * 1024;
inline constexpr std::uint32_t kScratchInodesDefault = 16 * 1024;
inline constexpr std::uint32_t kOpenFilesDefault = 1024;
inline constexpr std::string_view kPathDefault = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct SpawnError {
  Step step = Step::request;
  int error = 0;  // errno
};

struct SpawnedProcess {
  pid_t pid = -1;
  Fd pidfd;
};

// A child on its way to exec. `outcome` is at its end when the program was exec'ed, or the child killed before;
// otherwise it holds a SpawnError and the child is to be reaped. It does not block.
struct SpawnApart {
  SpawnedProcess process;
  Fd outcome;
};

// The paths that running `command` means, in order: itself if it has a slash, else below each directory of `path`.
[[nodiscard]] std::vector<std::string> program_candidates(std::string_view command, std::string_view path);

// For clone3 of a child that is to be reaped; `group` is the v2 group to be born in, or -1. `pidfd` is written by it.
[[nodiscard]] clone_args clone_arguments(std::uint64_t flags, int group, int& pidfd);

// Of the tmpfs on /tmp and /dev/shm, and of the one that takes the changes of a copy-on-write root.
struct ScratchOptions {
  std::string scratch;
  std::string upper;

  [[nodiscard]] static ScratchOptions of(const Limits& limits);
};

class SpawnPlan {
 public:
  // Takes the request and its descriptors in the order that protocol.h gives for Spawn; inputs and output are detached
  // mounts by now where they are mounted.
  [[nodiscard]] static std::expected<SpawnPlan, SpawnError> make(Spawn request, std::vector<Fd> descriptors);

  SpawnPlan(SpawnPlan&&) = default;
  SpawnPlan& operator=(SpawnPlan&&) = delete;

  [[nodiscard]] ChildPlan& child() { return child_; }
  // Fills in the child's pointers to what this plan owns; the plan is not to be moved any more. start() does it.
  void point();
  [[nodiscard]] std::uint64_t run() const { return request_.run; }
  [[nodiscard]] const Limits& limits() const { return request_.limits; }

  // Of the request, once somebody else has them.
  void close_descriptors() { descriptors_.clear(); }

  // The child copies inputs, which may take long and must not count as the caller's memory: start_apart() is for it.
  [[nodiscard]] bool copies_inputs() const;

  // Clones with `clone_flags` besides VM, VFORK and PIDFD; `group` is the v2 group to be born in, or -1. An exec
  // failure is an error: the child is reaped.
  [[nodiscard]] std::expected<SpawnedProcess, SpawnError> start(const ChildStack& stack, std::uint64_t clone_flags,
                                                                int group);

  // Clones a child with memory of its own, and does not wait for it: see SpawnApart.
  [[nodiscard]] std::expected<SpawnApart, SpawnError> start_apart(std::uint64_t clone_flags, int group);

 private:
  SpawnPlan() = default;
  [[nodiscard]] bool lay_out();

  Spawn request_;
  std::vector<Fd> descriptors_;
  std::string packed_;
  Program program_;
  std::vector<std::string> candidates_;
  std::vector<const char*> candidate_pointers_;
  std::vector<ChildInput> inputs_;
  std::vector<ChildLimit> limits_;
  ScratchOptions scratch_;
  ChildPlan child_;
};

}  // namespace millrace::launcher
