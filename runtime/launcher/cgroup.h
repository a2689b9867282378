// Control groups behind one small interface: a driver hands out groups from a pool, the last one returned first (a
// group whose kernel structures are still in the caches saves up to 0.3 ms of a start), and takes them back.
//
//   auto group = driver.acquire(limits);
//   ... clone with (*group)->born_into() and (*group)->tasks(), wait for the end ...
//   const GroupUsage usage = (*group)->usage();
//   driver.release(std::move(*group));     // processes must be gone
//   while (idle && driver.tidy()) {}       // resets what was returned, off the hot path
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

struct GroupUsage {
  std::uint64_t cpu_us = 0;
  std::uint64_t memory_peak_bytes = 0;
  std::uint64_t throttled_us = 0;
  std::uint64_t out_of_memory_kills = 0;
};

class Group {
 public:
  virtual ~Group() = default;

  // v1 `tasks` files into which the child writes "0"; empty without v1.
  [[nodiscard]] virtual std::span<const int> tasks() const = 0;
  // The v2 group for CLONE_INTO_CGROUP; -1 without v2.
  [[nodiscard]] virtual int born_into() const = 0;
  // Readable when the kernel is short of memory in this group (an eventfd); -1 if that cannot be watched, or need not
  // be, since the kernel ends the whole group by itself.
  [[nodiscard]] virtual int memory_event() const = 0;
  // To be called when the first process of the run has memory of its own. False: something of the run was killed for
  // memory before, and what is left is to be killed.
  [[nodiscard]] virtual bool started() = 0;

  // Since the group was handed out.
  [[nodiscard]] virtual GroupUsage usage() const = 0;
  [[nodiscard]] virtual bool populated() const = 0;
  // Forbids new processes and sends SIGKILL to all there are. Repeat until populated() is false: a fork may have been
  // under way.
  virtual void kill_all() = 0;

  // Its directory in one of the hierarchies. Where there are several it has the same name below each one's mount.
  [[nodiscard]] virtual std::string place() const = 0;
  // Somebody else has changed or removed it: it serves no other run.
  virtual void retire() = 0;
};

class GroupDriver {
 public:
  virtual ~GroupDriver() = default;

  [[nodiscard]] virtual ControlState state(
      Control control) const = 0;  // memory, cpu_weight, cpu_quota, pids, kill_group
  // The v2 group of template processes for CLONE_INTO_CGROUP; -1 without v2.
  [[nodiscard]] virtual int templates_group() const = 0;

  // A group with these limits. Null, without an error, when the host has no controls at all.
  [[nodiscard]] virtual Result<std::unique_ptr<Group>> acquire(const Limits& limits) = 0;
  virtual void release(std::unique_ptr<Group> group) = 0;
  // Does one piece of postponed work; false if there is none left.
  virtual bool tidy() = 0;
  // Removes every group of this driver; the processes in them must be gone.
  virtual void remove_all() = 0;
};

// Probes by trying: kills and removes what a previous life left below `prefix`, then makes a group. `template_uid` may
// start processes in the groups that the driver makes. Where any v1 controller is mounted, v1 is used, with the v2
// hierarchy of a hybrid host beside it; v2 alone otherwise. Without rights the result is a driver that says missing.
[[nodiscard]] std::unique_ptr<GroupDriver> make_group_driver(const std::string& prefix, std::uint32_t template_uid);

// How the control files express a limit. Exposed for tests.
[[nodiscard]] std::uint64_t cpu_shares_of(std::uint32_t weight_millicores);   // v1: 1024 is one core, at least 2
[[nodiscard]] std::uint64_t cpu_weight_of(std::uint32_t weight_millicores);   // v2: 100 is one core, 1 to 10,000
[[nodiscard]] std::uint64_t cpu_quota_us_of(std::uint32_t quota_millicores);  // of each period of 100 ms, at least 1 ms
inline constexpr std::uint64_t kCpuPeriodUs = 100'000;

}  // namespace millrace::launcher
