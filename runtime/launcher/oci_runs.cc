#include "runtime/launcher/oci_runs.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "runtime/launcher/cgroup_pool.h"
#include "runtime/launcher/channel.h"
#include "runtime/launcher/first_process.h"
#include "runtime/launcher/oci_keeper.h"
#include "runtime/launcher/passed_files.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr std::string_view kGroupsDisabled = "--cgroup-manager=disabled";  // as crun spells it

std::string fault_of(const OciRuntime& runtime) {
  const std::string& program = runtime.command.front();
  struct stat status{};
  if (::stat(program.c_str(), &status) < 0) return explain(program, errno);
  if (!S_ISREG(status.st_mode) || (status.st_mode & 0111) == 0) return program + ": no program";
  if (status.st_uid != 0 || (status.st_mode & 0022) != 0) return program + ": others than root may change it";
  return {};
}

bool leaves_groups_alone(const OciRuntime& runtime) {
  return std::ranges::find(runtime.command, kGroupsDisabled) != runtime.command.end();
}

bool tell(const Fd& keeper, const Request& request) {
  const auto bytes = encode(request);
  return bytes && keeper && send(keeper.get(), *bytes) == Transfer::done;
}

}  // namespace

std::vector<OciRuntime> usable_runtimes(const LauncherOptions& options, const ContainerSupport& support,
                                        std::string& why) {
  std::vector<OciRuntime> usable;
  const ControlState namespaces = support.state(Control::namespaces);
  why = namespaces.reason;
  if (namespaces.support != Support::real) return usable;
  if (!support.rights().is_root()) {
    why = "OCI runtimes are called by a launcher of root only";
    return usable;
  }
  for (const OciRuntime& runtime : options.runtimes) {
    const std::string fault = fault_of(runtime);
    if (fault.empty()) {
      usable.push_back(runtime);
    } else {
      why += (why.empty() ? "" : "; ") + fault;
    }
  }
  if (options.runtimes.empty()) why = "no OCI runtime is installed in the usual places, and oci_runtimes names none";
  why.resize(std::min(why.size(), kTextBytesMax));
  return usable;
}

OciRuns::OciRuns(const LauncherOptions& options, ContainerSupport& support, GroupDriver& groups, Answers& answers,
                 MemoryWatch& memory, KeeperWatch& watch)
    : options_(options),
      support_(support),
      groups_(groups),
      answers_(answers),
      memory_(memory),
      watch_(watch),
      mounts_(find_cgroup_mounts()) {
  const auto known = mounts_.hierarchies();
  std::ranges::copy_if(mounts_.v1, std::back_inserter(elsewhere_),
                       [&known](const std::string& mount) { return std::ranges::find(known, mount) == known.end(); });
  // Of a previous life. Its processes are gone: the driver's own groups held them, too.
  if (!options_.runtimes.empty()) sweep_elsewhere("/" + options_.prefix);
}

OciRuns::~OciRuns() {
  if (!options_.runtimes.empty()) sweep_elsewhere("/" + options_.prefix);
}

void OciRuns::sweep_elsewhere(const std::string& name) const {
  for (const std::string& mount : elsewhere_) sweep_group(mount + name, kSweepPatienceMs);
}

// ---- functions

void OciRuns::prepare(const Prepare& request, std::vector<Fd> descriptors) {
  const auto runtime = std::ranges::find_if(options_.runtimes, [&request](const OciRuntime& known) {
    return request.runtime.empty() || known.name == request.runtime;
  });
  if (runtime == options_.runtimes.end()) {
    return answers_.send(PrepareFailed{.template_id = request.template_id,
                                       .step = Step::runtime,
                                       .error = ENOENT,
                                       .text = "find the OCI runtime " + request.runtime});
  }
  if (request.network != Network::none && request.network != Network::host) {
    return answers_.send(PrepareFailed{
        .template_id = request.template_id, .step = Step::network, .error = EINVAL, .text = "not for OCI runtimes"});
  }
  auto resources = support_.allocate(request, descriptors);
  if (!resources) return answers_.send(resources.error());
  Template& entry = templates_[request.template_id];
  entry = {.request = request, .resources = std::move(*resources), .runtime = &*runtime};
  answers_.send(Prepared{.template_id = request.template_id, .files = entry.resources.files});
}

void OciRuns::drop(std::uint32_t template_id) {
  const auto found = templates_.find(template_id);
  if (found == templates_.end()) return;
  found->second.dropped = true;
  for (auto& [id, run] : runs_) {
    if (run.run.template_id == template_id) kill_run(run);
  }
  release(template_id);
}

void OciRuns::release(std::uint32_t template_id) {
  const auto found = templates_.find(template_id);
  if (found == templates_.end() || !found->second.dropped || found->second.runs != 0) return;
  support_.free(found->second.resources.slot);
  templates_.erase(found);
}

// ---- runs

// Below the mounts of the hierarchies.
std::string OciRuns::group_name(const Group& group) const {
  const std::string directory = group.place();
  auto mounts = mounts_.v1;
  mounts.push_back(mounts_.v2);
  for (const std::string& mount : mounts) {
    if (!mount.empty() && directory.starts_with(mount + "/")) return directory.substr(mount.size());
  }
  return {};
}

void OciRuns::spawn(Spawn request, std::vector<Fd> descriptors, std::uint64_t received_us) {
  const std::uint64_t id = request.run;
  const auto refuse = [this, id](Step step, int error) {
    answers_.send(SpawnFailed{.run = id, .step = step, .error = error});
  };
  const auto found = templates_.find(request.template_id);
  if (found == templates_.end() || found->second.dropped) return refuse(Step::request, ENOENT);
  Template& entry = found->second;
  if (const SpawnError error = take_files(options_, entry.resources, request, descriptors); error.error != 0) {
    return refuse(error.step, error.error);
  }
  auto group = groups_.acquire(request.limits);
  if (!group) return refuse(Step::cgroup, EIO);

  OciRun made;
  made.run.id = id;
  made.run.template_id = request.template_id;
  made.run.received_us = received_us;
  made.run.group = std::move(*group);
  if (made.run.group != nullptr) made.group = group_name(*made.run.group);

  FirstProcess child = start_first_process(groups_.templates_group());
  if (child.pid == 0) {
    const Limits wanted = request.limits;
    const auto holds = [this](Control control) { return groups_.state(control).support == Support::real; };
    OciKeeperPlan plan{.options = options_,
                       .prepare = entry.request,
                       .resources = entry.resources,
                       .runtime = *entry.runtime,
                       .request = std::move(request),
                       .descriptors = std::move(descriptors),
                       .socket = std::move(child.socket),
                       .tasks = {},
                       .control_group = leaves_groups_alone(*entry.runtime) ? std::string() : made.group,
                       .hybrid = !mounts_.v1.empty() && !mounts_.v2.empty(),
                       .held = {}};
    if (made.run.group != nullptr) {
      plan.tasks.assign(made.run.group->tasks().begin(), made.run.group->tasks().end());
      plan.born_into = made.run.group->born_into();
    }
    if (holds(Control::memory)) plan.held.memory_bytes = wanted.memory_bytes;
    if (holds(Control::pids)) plan.held.pids = wanted.pids;
    if (holds(Control::cpu_quota)) plan.held.cpu_quota_millicores = wanted.cpu_quota_millicores;
    oci_keeper_main(std::move(plan));
  }
  if (child.pid < 0) {
    if (made.run.group != nullptr) groups_.release(std::move(made.run.group));
    return refuse(Step::clone, child.error);
  }
  made.pid = child.pid;
  made.keeper = std::move(child.process);
  made.socket = std::move(child.socket);
  if (made.run.group != nullptr) memory_.watch(made.run.group->memory_event(), id);
  watch_.watch_keeper(made.socket.get(), made.pid);
  by_pid_.emplace(made.pid, id);
  ++entry.runs;
  runs_.emplace(id, std::move(made));
}

void OciRuns::read_keeper(pid_t keeper) {
  const auto known = by_pid_.find(keeper);
  if (known == by_pid_.end()) return;
  OciRun& run = runs_.at(known->second);
  while (run.socket) {
    Datagram got;
    const Transfer transfer = receive(run.socket.get(), got);
    if (transfer == Transfer::would_block) return;
    auto answer = transfer == Transfer::done ? decode_answer(got.bytes) : fail(Errc::unavailable, "closed");
    if (!answer) {
      // What follows its end is done when it is reaped: only then all that it kept is gone.
      watch_.forget_keeper(run.socket.get());
      run.socket.reset();
      signal_process(run.keeper.get(), SIGKILL);
      return;
    }
    take_answer(run, std::move(*answer), std::move(got.descriptors));
  }
}

void OciRuns::take_answer(OciRun& run, Answer answer, std::vector<Fd> descriptors) {
  if (const auto* started = std::get_if<Started>(&answer)) {
    if (descriptors.size() != 1 || run.run.process) return;
    run.run.process = std::move(descriptors.front());
    run.run.start_us = monotonic_us() - run.run.received_us;
    if (run.run.group != nullptr && !run.run.group->started()) kill_run(run);
    if (run.term_wanted) tell(run.socket, Kill{.run = run.run.id, .signal = KillSignal::term});
    answers_.send(*started);
  } else if (std::holds_alternative<SpawnFailed>(answer)) {
    run.report = std::move(answer);
  } else if (const auto* exited = std::get_if<Exited>(&answer)) {
    // Now, for with the container its groups go.
    run.report = complete(run.run, *exited);
    tell(run.socket, Drop{.template_id = run.run.template_id});
  }
}

bool OciRuns::reaped(pid_t pid, int status) {
  const auto known = by_pid_.find(pid);
  if (known == by_pid_.end()) return false;
  const std::uint64_t id = known->second;
  read_keeper(pid);  // its last words
  by_pid_.erase(pid);
  end_run(id, WIFEXITED(status) && WEXITSTATUS(status) == 0);
  return true;
}

// Whether the kernel ended for its memory what had only begun to copy inputs: the copier, which the keeper reports, or
// the keeper itself by us.
bool OciRuns::ended_copying(const OciRun& run) {
  if (run.run.process || run.run.group == nullptr || run.run.group->usage().out_of_memory_kills == 0) return false;
  const auto* failed = run.report ? std::get_if<SpawnFailed>(&*run.report) : nullptr;
  return !run.report || (failed != nullptr && failed->step == Step::input);
}

void OciRuns::end_run(std::uint64_t id, bool deleted) {
  auto node = runs_.extract(id);
  OciRun& run = node.mapped();
  if (run.socket) watch_.forget_keeper(run.socket.get());
  if (ended_copying(run)) {
    // As of any other process of the run that is too large: it had begun, and was out of memory.
    answers_.send(Started{.run = id});
    run.report = complete(run.run, Exited{.run = id, .how = Ending::signal, .value = SIGKILL});
  } else if (!run.report && run.run.process) {
    Exited report{.run = id, .how = Ending::lost, .value = 0};
    // We did it: the end of the run is known.
    if (run.ending) report.how = Ending::signal;
    if (run.ending) report.value = SIGKILL;
    run.report = complete(run.run, report);
  } else if (!run.report) {
    run.report = SpawnFailed{.run = id, .step = Step::template_died, .error = ESRCH, .text = {}};
  }
  if (!deleted && !run.group.empty()) sweep_elsewhere(run.group);
  if (run.run.group != nullptr) {
    memory_.forget(run.run.group->memory_event());
    run.run.group->retire();
    groups_.release(std::move(run.run.group));
  }
  answers_.send(*run.report);
  const auto entry = templates_.find(run.run.template_id);
  if (entry == templates_.end()) return;
  --entry->second.runs;
  release(run.run.template_id);
}

// The container's first process if there is one, so that the runtime can tidy up after it; else the keeper, pid 1 of
// all.
void OciRuns::kill_run(OciRun& run) {
  run.ending = true;
  signal_process(run.run.process ? run.run.process.get() : run.keeper.get(), SIGKILL);
}

bool OciRuns::kill(std::uint64_t run, KillSignal signal) {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return false;
  OciRun& entry = found->second;
  if (signal == KillSignal::kill) {
    kill_run(entry);
  } else if (entry.run.process) {
    tell(entry.socket, Kill{.run = run, .signal = signal});
  } else {
    entry.term_wanted = true;
  }
  return true;
}

void OciRuns::kill_all() {
  // There is nobody to wait for a runtime's tidying up.
  for (auto& [id, run] : runs_) {
    run.ending = true;
    signal_process(run.keeper.get(), SIGKILL);
  }
  std::vector<std::uint32_t> all;
  for (auto& [id, entry] : templates_) {
    entry.dropped = true;
    all.push_back(id);
  }
  for (const std::uint32_t id : all) release(id);
}

bool OciRuns::sample(std::uint64_t run, Usage& into) const {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return false;
  into = usage_so_far(found->second.run);
  return true;
}

bool OciRuns::memory_event(std::uint64_t run) {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return false;
  found->second.run.memory_looks = kMemoryLooks;
  return true;
}

bool OciRuns::look_again() {
  bool more = false;
  for (auto& [id, run] : runs_) {
    // One process of the tree was killed for memory: what is left of it cannot be relied on.
    if (look_for_memory_kill(run.run)) kill_run(run);
    more = more || run.run.memory_looks != 0;
  }
  return more;
}

}  // namespace millrace::launcher
