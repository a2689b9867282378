// The runs of the kind `process`: children of the launcher itself, without namespaces, as the daemon's user.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "runtime/launcher/host_rights.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/run.h"
#include "runtime/launcher/spawn.h"
#include "runtime/launcher/vm_clone.h"

namespace millrace::launcher {

class ProcessRuns {
 public:
  // `is_ours`: whether a child of the launcher is something else than a leftover: a template, a keeper of an OCI
  // runtime's container or the helper of a network.
  ProcessRuns(const LauncherOptions& options, const HostRights& rights, const ChildStack& stack, GroupDriver& groups,
              Answers& answers, MemoryWatch& watch, std::function<bool(pid_t)> is_ours);

  void spawn(Spawn request, std::vector<Fd> descriptors, std::uint64_t received_us);
  [[nodiscard]] bool kill(std::uint64_t run, KillSignal signal);  // false: not one of these
  [[nodiscard]] bool sample(std::uint64_t run, Usage& into) const;
  [[nodiscard]] bool memory_event(std::uint64_t run);
  void kill_all();
  void kill_template(std::uint32_t template_id);
  [[nodiscard]] bool has(std::uint64_t run) const { return runs_.contains(run); }
  [[nodiscard]] std::size_t size() const { return runs_.size(); }

  // A child of the launcher was reaped; false: not the first process of a run.
  [[nodiscard]] bool reaped(pid_t pid, int status, const rusage& used);

  // Goes on with what cannot be waited for: leftovers of ended runs, out-of-memory kills. True while there is something
  // to look at again soon.
  bool look_again();

 private:
  struct ProcessRun {
    Run run;
    pid_t pid = -1;
    bool ended = false;  // the first process is gone, leftovers may live
    Exited report;
  };

  void kill_tree_of(ProcessRun& run);
  [[nodiscard]] std::vector<pid_t> strays() const;
  void finish(std::uint64_t id);

  const LauncherOptions& options_;
  const HostRights& rights_;
  const ChildStack& stack_;
  GroupDriver& groups_;
  Answers& answers_;
  MemoryWatch& watch_;
  std::function<bool(pid_t)> is_ours_;
  bool unkillable_;  // for memory; what it starts must not be
  std::unordered_map<std::uint64_t, ProcessRun> runs_;
  std::unordered_map<pid_t, std::uint64_t> by_pid_;
  std::vector<std::uint64_t> ending_;
};

}  // namespace millrace::launcher
