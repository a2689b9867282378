#include "runtime/launcher/spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/raw_syscall.h"

namespace millrace::launcher {
namespace {

// A limit above the hard one of the launcher would need CAP_SYS_RESOURCE: the hard one is what holds then.
ChildLimit limit_of(int resource, std::uint64_t wanted) {
  rlimit now{};
  ::getrlimit(static_cast<__rlimit_resource_t>(resource), &now);
  const rlim_t value = std::min<rlim_t>(wanted, now.rlim_max);
  return {.resource = resource, .value = {.rlim_cur = value, .rlim_max = value}};
}

std::string_view variable(const std::vector<const char*>& environment, std::string_view name,
                          std::string_view fallback) {
  for (const char* entry : environment) {
    if (entry == nullptr) break;
    const std::string_view text = entry;
    if (text.size() > name.size() && text.starts_with(name) && text[name.size()] == '=') {
      return text.substr(name.size() + 1);
    }
  }
  return fallback;
}

}  // namespace

std::vector<std::string> program_candidates(std::string_view command, std::string_view path) {
  if (command.find('/') != std::string_view::npos) return {std::string(command)};
  std::vector<std::string> candidates;
  for (;;) {
    const auto colon = path.find(':');
    const auto directory = path.substr(0, colon);
    std::string candidate(directory.empty() ? std::string_view(".") : directory);
    candidate += '/';
    candidate += command;
    candidates.push_back(std::move(candidate));
    if (colon == std::string_view::npos) return candidates;
    path.remove_prefix(colon + 1);
  }
}

clone_args clone_arguments(std::uint64_t flags, int group, int& pidfd) {
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD | flags;
  arguments.pidfd = raw::word(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (group >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(group);
  }
  return arguments;
}

ScratchOptions ScratchOptions::of(const Limits& limits) {
  const auto bytes = limits.scratch_bytes != 0 ? limits.scratch_bytes : kScratchBytesDefault;
  const auto inodes = limits.scratch_inodes != 0 ? limits.scratch_inodes : kScratchInodesDefault;
  const std::string bounds = "size=" + std::to_string(bytes) + ",nr_inodes=" + std::to_string(inodes);
  return {.scratch = "mode=1777," + bounds, .upper = "mode=755," + bounds};
}

std::expected<SpawnPlan, SpawnError> SpawnPlan::make(Spawn request, std::vector<Fd> descriptors) {
  SpawnPlan plan;
  plan.request_ = std::move(request);
  plan.descriptors_ = std::move(descriptors);
  if (!plan.lay_out()) return std::unexpected(SpawnError{.step = Step::request, .error = EINVAL});
  return plan;
}

bool SpawnPlan::lay_out() {
  if (descriptors_.size() != descriptors_of(request_)) return false;
  std::size_t next = 0;
  const auto take = [this, &next] { return descriptors_.at(next++).get(); };
  for (int& fd : child_.stdio) fd = take();
  if (request_.program.empty()) {
    auto packed = read_sealed_memfd(take(), kProgramBytesMax);
    if (!packed) return false;
    packed_ = std::move(*packed);
  } else {
    packed_ = std::move(request_.program);
  }
  // A text short enough to lie inside the string object would change its address when the plan is moved.
  packed_.reserve(64);
  auto program = unpack_program(packed_);
  if (!program) return false;
  program_ = std::move(*program);
  if (request_.output) child_.output = take();
  for (const Input& input : request_.inputs) {
    inputs_.push_back({.name = input.name.c_str(), .fd = take(), .mode = input.mode});
  }

  candidates_ = program_candidates(program_.argv.front(), variable(program_.environment, "PATH", kPathDefault));
  for (const std::string& candidate : candidates_) candidate_pointers_.push_back(candidate.c_str());

  const Limits& wanted = request_.limits;
  limits_.push_back(limit_of(RLIMIT_CORE, 0));
  limits_.push_back(limit_of(RLIMIT_NOFILE, wanted.open_files != 0 ? wanted.open_files : kOpenFilesDefault));
  if (wanted.file_bytes != 0) limits_.push_back(limit_of(RLIMIT_FSIZE, wanted.file_bytes));

  scratch_ = ScratchOptions::of(wanted);
  if (request_.hostname.empty()) request_.hostname = "function";
  if (request_.working_directory.empty()) request_.working_directory = "/tmp";
  return true;
}

void SpawnPlan::point() {
  child_.argv = program_.argv.data();
  child_.environment = program_.environment.data();
  child_.candidates = candidate_pointers_;
  child_.inputs = inputs_;
  child_.limits = limits_;
  child_.working_directory = request_.working_directory.c_str();
  child_.hostname = request_.hostname.c_str();
  child_.hostname_size = request_.hostname.size();
  child_.scratch_options = scratch_.scratch.c_str();
  child_.upper_options = scratch_.upper.c_str();
}

bool SpawnPlan::copies_inputs() const {
  return std::ranges::any_of(inputs_, [](const ChildInput& input) { return input.mode == InputMode::copy; });
}

std::expected<SpawnedProcess, SpawnError> SpawnPlan::start(const ChildStack& stack, std::uint64_t clone_flags,
                                                           int group) {
  point();
  int pidfd = -1;
  clone_args arguments = clone_arguments(CLONE_VFORK | clone_flags, group, pidfd);
  const long pid = clone_sharing_memory(arguments, stack, sandbox_child, &child_);
  if (pid < 0) return std::unexpected(SpawnError{.step = Step::clone, .error = static_cast<int>(-pid)});
  SpawnedProcess process{.pid = static_cast<pid_t>(pid), .pidfd = Fd(pidfd)};
  if (child_.error != 0) {
    ::waitpid(process.pid, nullptr, 0);
    return std::unexpected(SpawnError{.step = child_.step, .error = child_.error});
  }
  return process;
}

namespace {

struct Telling {
  ChildPlan* plan;
  int outcome;
};

void tell_of_failure(void* argument) {
  const Telling& telling = *static_cast<Telling*>(argument);
  sandbox_child(telling.plan);
  const SpawnError why{.step = telling.plan->step, .error = telling.plan->error};
  raw::call(SYS_write, raw::word(telling.outcome), raw::word(&why), sizeof(why));
}

}  // namespace

std::expected<SpawnApart, SpawnError> SpawnPlan::start_apart(std::uint64_t clone_flags, int group) {
  point();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) < 0) {
    return std::unexpected(SpawnError{.step = Step::resources, .error = errno});
  }
  SpawnApart apart{.process = {}, .outcome = Fd(ends[0])};
  const Fd told(ends[1]);
  Telling telling{.plan = &child_, .outcome = told.get()};
  int pidfd = -1;
  clone_args arguments = clone_arguments(clone_flags, group, pidfd);
  const long pid = clone_copying_memory(arguments, tell_of_failure, &telling);
  if (pid < 0) return std::unexpected(SpawnError{.step = Step::clone, .error = static_cast<int>(-pid)});
  apart.process = {.pid = static_cast<pid_t>(pid), .pidfd = Fd(pidfd)};
  return apart;
}

}  // namespace millrace::launcher
