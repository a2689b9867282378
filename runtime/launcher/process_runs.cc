#include "runtime/launcher/process_runs.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "runtime/launcher/process_tree.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {

ProcessRuns::ProcessRuns(const LauncherOptions& options, const HostRights& rights, const ChildStack& stack,
                         GroupDriver& groups, Answers& answers, MemoryWatch& watch, std::function<bool(pid_t)> is_ours)
    : options_(options),
      rights_(rights),
      stack_(stack),
      groups_(groups),
      answers_(answers),
      watch_(watch),
      is_ours_(std::move(is_ours)),
      unkillable_(read_file(AT_FDCWD, "/proc/self/oom_score_adj").value_or("").starts_with('-')) {}

void ProcessRuns::spawn(Spawn request, std::vector<Fd> descriptors, std::uint64_t received_us) {
  const std::uint64_t id = request.run;
  const auto refuse = [this, id](Step step, int error) {
    answers_.send(SpawnFailed{.run = id, .step = step, .error = error});
  };
  if (request.output || !request.inputs.empty()) return refuse(Step::request, EINVAL);
  ProcessRun made;
  made.run.id = id;
  made.run.template_id = request.template_id;
  made.run.received_us = received_us;
  auto plan = SpawnPlan::make(std::move(request), std::move(descriptors));
  if (!plan) return refuse(plan.error().step, plan.error().error);
  auto group = groups_.acquire(plan->limits());
  if (!group) return refuse(Step::cgroup, EIO);
  made.run.group = std::move(*group);

  ChildPlan& child = plan->child();
  if (made.run.group != nullptr) child.group_tasks = made.run.group->tasks();
  child.uid = options_.daemon_uid;
  child.gid = options_.daemon_gid;
  child.change_user = rights_.is_root();
  child.take_back_oom_score = unkillable_;
  child.die_with_parent = true;
  child.parent_pid = static_cast<std::uint32_t>(::getpid());
  child.adopt_orphans = made.run.group == nullptr;
  auto process = plan->start(stack_, 0, made.run.group != nullptr ? made.run.group->born_into() : -1);
  if (!process) {
    if (made.run.group != nullptr) groups_.release(std::move(made.run.group));
    return refuse(process.error().step, process.error().error);
  }
  made.run.start_us = monotonic_us() - received_us;
  made.run.process = std::move(process->pidfd);
  made.pid = process->pid;
  const bool spared = made.run.group == nullptr || made.run.group->started();
  if (made.run.group != nullptr) watch_.watch(made.run.group->memory_event(), id);
  by_pid_.emplace(made.pid, id);
  runs_.emplace(id, std::move(made));
  if (!spared) kill_tree_of(runs_.at(id));
  answers_.send(Started{.run = id});
}

bool ProcessRuns::kill(std::uint64_t run, KillSignal signal) {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return false;
  if (signal == KillSignal::kill) {
    kill_tree_of(found->second);
  } else if (!found->second.ended) {
    signal_process(found->second.run.process.get(), SIGTERM);
  }
  return true;
}

void ProcessRuns::kill_tree_of(ProcessRun& run) {
  if (run.run.group != nullptr) {
    run.run.group->kill_all();
  } else if (!run.ended) {
    kill_tree(run.pid);
  }
}

bool ProcessRuns::sample(std::uint64_t run, Usage& into) const {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return false;
  into = usage_so_far(found->second.run);
  return true;
}

bool ProcessRuns::memory_event(std::uint64_t run) {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return false;
  found->second.run.memory_looks = kMemoryLooks;
  return true;
}

void ProcessRuns::kill_all() {
  for (auto& [id, run] : runs_) kill_tree_of(run);
}

void ProcessRuns::kill_template(std::uint32_t template_id) {
  for (auto& [id, run] : runs_) {
    if (run.run.template_id == template_id) kill_tree_of(run);
  }
}

bool ProcessRuns::reaped(pid_t pid, int status, const rusage& used) {
  const auto known = by_pid_.find(pid);
  if (known == by_pid_.end()) return false;
  ProcessRun& run = runs_.at(known->second);
  by_pid_.erase(known);
  run.ended = true;
  run.report = {.run = run.run.id,
                .how = WIFEXITED(status) ? Ending::code : Ending::signal,
                .value = static_cast<std::uint32_t>(WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status)),
                .usage = usage_of(used)};
  ending_.push_back(run.run.id);
  return true;
}

std::vector<pid_t> ProcessRuns::strays() const {
  // An orphan reaches the launcher only when the first process of its run is gone.
  auto children = children_of(::getpid());
  std::erase_if(children, [this](pid_t pid) { return by_pid_.contains(pid) || is_ours_(pid); });
  return children;
}

bool ProcessRuns::look_again() {
  bool any_without_group = false;
  for (auto& [id, run] : runs_) {
    // One process of the tree was killed for memory: what is left of it cannot be relied on.
    if (look_for_memory_kill(run.run)) kill_tree_of(run);
    any_without_group = any_without_group || (run.ended && run.run.group == nullptr);
  }
  std::vector<pid_t> left;
  if (any_without_group) left = strays();
  for (const pid_t stray : left) kill_tree(stray);
  for (const std::uint64_t id : std::exchange(ending_, {})) {
    ProcessRun& run = runs_.at(id);
    const bool gone = run.run.group != nullptr ? !run.run.group->populated() : left.empty();
    if (gone) {
      finish(id);
      continue;
    }
    kill_tree_of(run);
    ending_.push_back(id);
  }
  return !ending_.empty() ||
         std::ranges::any_of(runs_, [](const auto& entry) { return entry.second.run.memory_looks != 0; });
}

void ProcessRuns::finish(std::uint64_t id) {
  auto node = runs_.extract(id);
  ProcessRun& run = node.mapped();
  const Exited report = complete(run.run, run.report);
  if (run.run.group != nullptr) {
    watch_.forget(run.run.group->memory_event());
    groups_.release(std::move(run.run.group));
  }
  answers_.send(report);
}

}  // namespace millrace::launcher
