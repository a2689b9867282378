// What the launcher keeps of one run, whatever its kind, and where its answers go.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "core/fd.h"
#include "runtime/launcher/cgroup.h"
#include "runtime/launcher/private_network.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

// The way back to the daemon. Never waits; what the socket does not take is kept in order.
class Answers {
 public:
  virtual ~Answers() = default;
  virtual void send(const Answer& answer) = 0;
};

// Tells the event loop which memory events to watch. watch() again names another run for one that is watched; 0 is
// none.
class MemoryWatch {
 public:
  virtual ~MemoryWatch() = default;
  virtual void watch(int memory_event, std::uint64_t run) = 0;
  virtual void forget(int memory_event) = 0;
};

struct Run {
  std::uint64_t id = 0;
  std::uint32_t template_id = 0;
  std::uint64_t received_us = 0;  // when the request came, CLOCK_MONOTONIC
  std::uint64_t start_us = 0;
  std::unique_ptr<Group> group;  // null without cgroups
  std::optional<PrivateNetwork> network;
  Fd process;            // pidfd of the first process, once started
  int kill_wanted = 0;   // a signal that was asked for before it started
  int memory_looks = 0;  // the kernel was short of memory: look this often whether it killed somebody
};

[[nodiscard]] Usage usage_of(const rusage& used);

// The group's figures are of the whole tree and win where there are any. `report` comes with those of the first
// process.
[[nodiscard]] Exited complete(const Run& run, Exited report);
[[nodiscard]] Usage usage_so_far(const Run& run);

// The kernel tells of being short of memory before it decides whom to kill, so the count is looked at repeatedly.
inline constexpr int kMemoryLooks = 100;
// One look: true once when a kill is seen.
[[nodiscard]] bool look_for_memory_kill(Run& run);

}  // namespace millrace::launcher
