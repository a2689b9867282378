// The runs of the kind `oci`: containers made by a program of the launcher's table, each with a keeper (oci_keeper.h),
// and the launcher's view of them. What runs of one function share is a range of ids and the bytes of its script.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/launcher/cgroup_mounts.h"
#include "runtime/launcher/container_support.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/run.h"
#include "runtime/launcher/template_process.h"

namespace millrace::launcher {

// Those of the table that may be started: programs of root that nobody else can change, where containers are possible
// at all. `why`: what is wrong with the others.
[[nodiscard]] std::vector<OciRuntime> usable_runtimes(const LauncherOptions& options, const ContainerSupport& support,
                                                      std::string& why);

// Tells the event loop which keepers' sockets to read.
class KeeperWatch {
 public:
  virtual ~KeeperWatch() = default;
  virtual void watch_keeper(int socket, pid_t keeper) = 0;
  virtual void forget_keeper(int socket) = 0;
};

class OciRuns {
 public:
  // `options.runtimes`: the usable ones.
  OciRuns(const LauncherOptions& options, ContainerSupport& support, GroupDriver& groups, Answers& answers,
          MemoryWatch& memory, KeeperWatch& watch);
  ~OciRuns();
  OciRuns(const OciRuns&) = delete;
  OciRuns& operator=(const OciRuns&) = delete;

  void prepare(const Prepare& request, std::vector<Fd> descriptors);
  [[nodiscard]] bool has_template(std::uint32_t template_id) const { return templates_.contains(template_id); }
  void drop(std::uint32_t template_id);
  [[nodiscard]] bool is_keeper(pid_t pid) const { return by_pid_.contains(pid); }

  void spawn(Spawn request, std::vector<Fd> descriptors, std::uint64_t received_us);
  [[nodiscard]] bool kill(std::uint64_t run, KillSignal signal);  // false: not one of these
  [[nodiscard]] bool sample(std::uint64_t run, Usage& into) const;
  [[nodiscard]] bool memory_event(std::uint64_t run);
  void kill_all();
  [[nodiscard]] bool has(std::uint64_t run) const { return runs_.contains(run); }
  [[nodiscard]] std::size_t size() const { return runs_.size(); }
  [[nodiscard]] std::size_t templates() const { return templates_.size(); }

  // The keeper's socket has something to say.
  void read_keeper(pid_t keeper);
  // A child of the launcher was reaped; false: not a keeper.
  [[nodiscard]] bool reaped(pid_t pid, int status);
  // As of ProcessRuns.
  bool look_again();

 private:
  struct Template {
    Prepare request;
    TemplateResources resources;
    const OciRuntime* runtime = nullptr;
    std::size_t runs = 0;
    bool dropped = false;
  };
  struct OciRun {
    Run run;
    Fd socket;
    Fd keeper;
    pid_t pid = -1;
    std::string group;             // its name in every hierarchy
    bool term_wanted = false;      // before it had started
    bool ending = false;           // we killed it
    std::optional<Answer> report;  // what to tell when nothing of it is left
  };

  void take_answer(OciRun& run, Answer answer, std::vector<Fd> descriptors);
  [[nodiscard]] static bool ended_copying(const OciRun& run);
  void end_run(std::uint64_t id, bool deleted);
  void release(std::uint32_t template_id);
  void kill_run(OciRun& run);
  [[nodiscard]] std::string group_name(const Group& group) const;
  void sweep_elsewhere(const std::string& name) const;

  const LauncherOptions& options_;
  ContainerSupport& support_;
  GroupDriver& groups_;
  Answers& answers_;
  MemoryWatch& memory_;
  KeeperWatch& watch_;
  CgroupMounts mounts_;
  std::vector<std::string> elsewhere_;  // hierarchies where runtimes make groups, and the driver does not
  std::unordered_map<std::uint32_t, Template> templates_;
  std::unordered_map<pid_t, std::uint64_t> by_pid_;
  std::unordered_map<std::uint64_t, OciRun> runs_;
};

}  // namespace millrace::launcher
