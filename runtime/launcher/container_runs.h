// The runs of the kind `container`: a template process for each function revision, which makes the sandboxes, and the
// launcher's view of both. A template is pid 1 of a pid namespace that holds all its sandboxes: when it dies, they do.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "runtime/launcher/container_support.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/private_network.h"
#include "runtime/launcher/run.h"
#include "runtime/launcher/spawn.h"
#include "runtime/launcher/template_process.h"

namespace millrace::launcher {

// Tells the event loop which template sockets to read.
class TemplateWatch {
 public:
  virtual ~TemplateWatch() = default;
  virtual void watch_template(int socket, std::uint32_t template_id) = 0;
  virtual void forget_template(int socket) = 0;
};

class ContainerRuns {
 public:
  ContainerRuns(const LauncherOptions& options, ContainerSupport& support, PrivateNetworks& networks,
                GroupDriver& groups, Answers& answers, MemoryWatch& memory, TemplateWatch& watch);
  ~ContainerRuns();
  ContainerRuns(const ContainerRuns&) = delete;
  ContainerRuns& operator=(const ContainerRuns&) = delete;

  void prepare(const Prepare& request, std::vector<Fd> descriptors);
  [[nodiscard]] bool has_template(std::uint32_t template_id) const { return templates_.contains(template_id); }
  [[nodiscard]] bool is_template(pid_t pid) const { return by_pid_.contains(pid); }
  void drop(std::uint32_t template_id);

  // `bytes` is the datagram of the request; templates decode it themselves.
  void spawn(std::string_view bytes, const Spawn& request, std::vector<Fd> descriptors, std::uint64_t received_us);
  [[nodiscard]] bool kill(std::uint64_t run, KillSignal signal);  // false: not one of these
  [[nodiscard]] bool sample(std::uint64_t run, Usage& into) const;
  void memory_event(std::uint64_t run);
  void kill_all();
  [[nodiscard]] bool has(std::uint64_t run) const { return runs_.contains(run); }
  [[nodiscard]] std::size_t size() const { return runs_.size(); }
  [[nodiscard]] std::size_t templates() const { return templates_.size(); }

  // The template's socket has something to say.
  void read_template(std::uint32_t template_id);
  // A child of the launcher was reaped; false: not a template.
  [[nodiscard]] bool reaped(pid_t pid);
  // As of ProcessRuns.
  bool look_again();
  // Does one piece of postponed work, for private networks and spare sandboxes; false if there is none to do now.
  bool tidy();
  // There will be some in a moment.
  [[nodiscard]] bool tidies_later() const;

 private:
  struct Place {
    std::unique_ptr<Group> group;  // null without cgroups
    std::optional<PrivateNetwork> network;
  };

  // A sandbox that waits for its run (spare_sandbox.h), at its place already.
  struct Spare {
    std::uint64_t number = 0;
    Limits limits;
    Place place;
    bool ending = false;  // we said so; it is gone when its template says it
  };

  struct Template {
    Prepare request;
    TemplateResources resources;
    Fd socket;
    Fd process;
    pid_t pid = -1;
    bool ready = false;
    bool announced = false;  // Prepared was sent to the daemon
    bool failed = false;     // it said so and ends
    bool ending = false;     // we killed it
    std::unordered_set<std::uint64_t> runs;
    std::size_t starting = 0;         // of these
    std::uint64_t last_start_us = 0;  // CLOCK_MONOTONIC, as the next
    std::uint64_t last_end_us = 0;
    bool in_a_row = false;              // the last run came right behind the end of another
    std::optional<Limits> wants_spare;  // since a run with these limits came
    std::optional<Spare> spare;
    // With Network::outbound only.
    std::vector<PrivateNetwork> idle_networks;      // a stack: the last one is warm
    std::vector<PrivateNetwork> returned_networks;  // to be looked at
    bool network_refused = false;                   // then only a run's own need tries again
  };

  void start(std::uint32_t id, Template& entry);  // may erase `entry`
  void forget(std::uint32_t id);
  void end_template(Template& entry);
  void lose_runs(Template& entry);
  void take_answer(std::uint32_t id, Template& entry, Answer answer, std::vector<Fd> descriptors);
  void take_one(Template& entry, const Started& answer, std::vector<Fd> descriptors);
  void take_one(Template& entry, const Exited& answer);
  void end_run(Template& entry, std::uint64_t id);
  void tell_template(const Run& run);
  bool kill_before_start(Run& run);  // false: there is nothing to kill yet, or no wish to
  [[nodiscard]] Step take_place(Template& entry, const Limits& limits, Place& place);
  void give_back(Template& entry, Place place);
  static void add_descriptors(const Place& place, std::vector<int>& passed);
  [[nodiscard]] static bool wants_spare(const Template& entry);
  bool tidy_spare(Template& entry);
  void end_oldest_spare();
  void end_spare(Template& entry);
  void free_spare(Template& entry);
  [[nodiscard]] Result<PrivateNetwork> take_network(Template& entry);
  // Of one template; false if there is nothing to do for it.
  bool tidy_networks(Template& entry);

  const LauncherOptions& options_;
  ContainerSupport& support_;
  PrivateNetworks& networks_;
  GroupDriver& groups_;
  Answers& answers_;
  MemoryWatch& memory_;
  TemplateWatch& watch_;
  std::unordered_map<std::uint32_t, Template> templates_;
  std::unordered_map<pid_t, std::uint32_t> by_pid_;
  std::unordered_map<std::uint64_t, Run> runs_;
  std::uint64_t spares_made_ = 0;
};

}  // namespace millrace::launcher
