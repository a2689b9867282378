// A sandbox that a template makes before its run is known: a process in its group, with its namespaces, mounts, masks
// and network, which waits for the rest: files, name, program.
//
//   auto spare = SpareSandbox::make(set_up, limits, group_tasks, namespaces, group, stack);
//   auto apart = spare->begin(plan);   // the run's files, name and program
//   // once `outcome` is at its end the process has memory of its own: the SpareSandbox may go, its stack serves again
//
// Until its exec the process shares the template's memory, as all children do, but the template does not wait for it.
// So the kernel would end the template with it if it ran out of its group's memory before: may_use_spare() keeps away
// whatever could.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "runtime/launcher/protocol.h"
#include "runtime/launcher/sandbox_child.h"
#include "runtime/launcher/spawn.h"
#include "runtime/launcher/vm_clone.h"

namespace millrace::launcher {

inline constexpr std::size_t kSparesMax = 16;  // of all templates together; each takes some 350 KiB of the kernel
// What a start takes of its group before exec is below 2 MiB, but for arguments and environment of 4 MiB at most.
inline constexpr std::uint64_t kSpareMemoryBytesMin = 16ULL << 20;

// Whether such a run may have been begun by a spare.
[[nodiscard]] bool may_use_spare(const Spawn& request);

class SpareSandbox {
 public:
  // `set_up` is what ChildPlan says of all runs of a template. `group_tasks` and `group` as of SpawnPlan::start().
  [[nodiscard]] static std::expected<std::unique_ptr<SpareSandbox>, SpawnError> make(const ChildPlan& set_up,
                                                                                     const Limits& limits,
                                                                                     std::vector<int> group_tasks,
                                                                                     std::uint64_t namespaces,
                                                                                     int group, ChildStack stack);

  SpareSandbox(const SpareSandbox&) = delete;
  SpareSandbox& operator=(const SpareSandbox&) = delete;
  ~SpareSandbox() = default;

  [[nodiscard]] const Limits& limits() const { return limits_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  void kill();

  // Gives it its run: what follows is as of SpawnPlan::start_apart(). It takes `plan`, unless the process is no more.
  [[nodiscard]] std::optional<SpawnApart> begin(std::unique_ptr<SpawnPlan>& plan);

  // Once its program was exec'ed: when, CLOCK_MONOTONIC.
  [[nodiscard]] std::uint64_t exec_us() const { return orders_.run->exec_us; }

  [[nodiscard]] ChildStack take_stack() && { return std::move(stack_); }

 private:
  struct Orders {
    ChildPlan set_up;
    ChildPlan* volatile run = nullptr;  // written before the datagram with its descriptors is sent
    int socket = -1;                    // the child's end
  };

  SpareSandbox(const Limits& limits, std::vector<int> group_tasks, ChildStack stack);
  static void child(void* orders);  // its entry
  static ChildPlan* await_run(const Orders& orders);

  Limits limits_;
  std::vector<int> group_tasks_;
  ScratchOptions scratch_;
  ChildStack stack_;
  Orders orders_;
  pid_t pid_ = -1;
  Fd pidfd_;
  Fd socket_;
  std::unique_ptr<SpawnPlan> plan_;
};

}  // namespace millrace::launcher
