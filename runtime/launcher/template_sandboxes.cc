#include "runtime/launcher/template_sandboxes.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <utility>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/directory_image.h"
#include "runtime/launcher/proc_masks.h"
#include "runtime/launcher/run.h"
#include "runtime/launcher/seccomp.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr std::size_t kIdleNetworksMax = 16;
constexpr std::uint32_t kNetworkUsesMax = 1000;
// Who is woken by the exec of a program takes the processor from it, and many end before anybody need know that they
// have started: one that was begun so lately is looked at only if we are awake anyhow.
constexpr std::uint64_t kLeftAloneUs = 1000;

}  // namespace

void tell_launcher(int socket, const Answer& answer, int descriptor) {
  const auto bytes = encode(answer);
  if (!bytes) ::_exit(3);
  const std::span<const int> descriptors(&descriptor, descriptor >= 0 ? 1 : 0);
  for (;;) {
    const Transfer sent = send(socket, *bytes, descriptors);
    if (sent == Transfer::done) return;
    if (sent != Transfer::would_block) ::_exit(0);
    pollfd room{.fd = socket, .events = POLLOUT, .revents = 0};
    ::poll(&room, 1, -1);
  }
}

std::expected<std::unique_ptr<TemplateSandboxes>, SpawnError> TemplateSandboxes::make(const TemplatePlan& plan,
                                                                                      int socket) {
  const auto failed = [](Step step) { return std::unexpected(SpawnError{.step = step, .error = errno}); };
  auto stack = ChildStack::make();
  if (!stack) return failed(Step::resources);
  std::unique_ptr<TemplateSandboxes> made(new TemplateSandboxes(plan, socket, std::move(*stack)));
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  made->child_signals_ = Fd(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!made->child_signals_) return failed(Step::resources);
  made->find_masks();
  struct stat kept{};
  made->has_secrets_ = ::lstat(kKeptSecretsDirectory, &kept) == 0;
  if (made->wants_networks()) {
    auto network = enter_new_network_namespace();
    if (!network) return failed(Step::network);
    made->idle_networks_.push_back({.descriptor = std::move(*network), .tables = NetworkTables::open()});
  }
  return made;
}

TemplateSandboxes::TemplateSandboxes(const TemplatePlan& plan, int socket, ChildStack stack)
    : plan_(plan), socket_(socket), stack_(std::move(stack)), inner_filter_(program_of(plan.inner_filter)) {}

void TemplateSandboxes::serve() {
  for (;;) turn();
}

void TemplateSandboxes::find_masks() {
  for (const char* path : kMaskedPaths) {
    struct stat status{};
    // /sys is an empty directory of ours.
    if (::lstat(path, &status) == 0)
      masks_.push_back({.source = S_ISDIR(status.st_mode) ? "/sys" : "/dev/null", .target = path});
  }
}

void TemplateSandboxes::turn() {
  std::vector<pollfd> waiting{{.fd = socket_, .events = POLLIN, .revents = 0},
                              {.fd = child_signals_.get(), .events = POLLIN, .revents = 0}};
  bool left_alone = false;
  if (starting_ != 0) {
    const std::uint64_t now = monotonic_us();
    for (const auto& [pid, sandbox] : sandboxes_) {
      if (!sandbox.outcome) continue;
      const bool lately = now - sandbox.begun_us < kLeftAloneUs;
      left_alone = left_alone || lately;
      if (!lately) waiting.push_back({.fd = sandbox.outcome.get(), .events = POLLIN, .revents = 0});
    }
  }
  // Only when nothing else is to be done, and above all not before the launcher, often on the same processor, has
  // heard.
  const bool tidy = is_untidy();
  const int ready = ::poll(waiting.data(), waiting.size(), tidy ? 0 : left_alone ? 1 : -1);
  if (ready == 0 && tidy) return tidy_networks();
  if (starting_ != 0) {
    for (auto& [pid, sandbox] : sandboxes_) look_at_start(sandbox);
  }
  if (waiting[1].revents != 0) reap();
  if (waiting[0].revents != 0) read_request();
}

bool TemplateSandboxes::is_untidy() const {
  if (!returned_networks_.empty()) return true;
  return wants_networks() && idle_networks_.empty() && spare_ == kNoProcess && !network_refused_;
}

void TemplateSandboxes::read_request() {
  Datagram got;
  const Transfer transfer = receive(socket_, got);
  if (transfer == Transfer::would_block) return;
  // Also when the launcher is gone: our end is the end of every sandbox.
  if (transfer != Transfer::done) ::_exit(0);
  auto request = decode_request(got.bytes);
  if (const auto* kill = request ? std::get_if<Kill>(&*request) : nullptr) return kill_start(kill->run);
  if (const auto* end = request ? std::get_if<EndSpare>(&*request) : nullptr) return end_spare(end->spare);
  if (const auto* make = request ? std::get_if<MakeSpare>(&*request) : nullptr) {
    return make_spare(*make, std::move(got.descriptors));
  }
  auto* spawn = request ? std::get_if<Spawn>(&*request) : nullptr;
  if (spawn == nullptr) ::_exit(2);
  start(std::move(*spawn), std::move(got.descriptors));
}

std::optional<TemplateSandboxes::Place> TemplateSandboxes::split_off_place(std::vector<Fd>& descriptors,
                                                                           std::size_t own) const {
  const std::size_t with_network = plan_.request.network == Network::outbound ? 1 : 0;
  if (descriptors.size() < own + with_network + (plan_.into_group ? 1 : 0)) return std::nullopt;
  Place place;
  place.descriptors.assign(std::make_move_iterator(descriptors.begin() + static_cast<std::ptrdiff_t>(own)),
                           std::make_move_iterator(descriptors.end()));
  descriptors.resize(own);
  for (const Fd& each : place.descriptors) place.tasks.push_back(each.get());
  if (plan_.into_group) place.born_into = place.tasks.back();
  if (plan_.into_group) place.tasks.pop_back();
  if (with_network != 0) place.outbound = place.tasks.front();
  if (with_network != 0) place.tasks.erase(place.tasks.begin());
  return place;
}

// What is the same for all runs.
void TemplateSandboxes::describe(ChildPlan& child, const std::optional<SandboxNetwork>& network,
                                 const Place& place) const {
  child.container = true;
  child.network = network ? network->descriptor.get() : place.outbound;
  child.proc_masks = masks_;
  child.filter = &inner_filter_;
  const bool as_root = runs_as_root(plan_.request);
  child.uid = as_root ? 0 : kRunUid;
  child.gid = child.uid;
  child.change_user = !plan_.resources.one_id;
  child.owns_inputs = plan_.resources.one_id;
  child.protect_proc_sys = as_root;
  child.capabilities = plan_.request.profile == Profile::compat ? compat_capabilities() : 0;
  child.copy_on_write = plan_.request.image == Image::directory_copy;
  child.secrets = has_secrets_;
}

void TemplateSandboxes::start(Spawn request, std::vector<Fd> descriptors) {
  const std::uint64_t run = request.run;
  const auto refuse = [this, run](const SpawnError& why) {
    tell_launcher(socket_, SpawnFailed{.run = run, .step = why.step, .error = why.error});
  };
  const auto place = split_off_place(descriptors, descriptors_of(request));
  if (!place) return refuse({.step = Step::request, .error = EINVAL});
  const std::uint64_t spare = may_use_spare(request) ? spare_for(request.limits) : 0;
  auto made = SpawnPlan::make(std::move(request), std::move(descriptors));
  if (!made) {
    end_spare(spare);  // the launcher counts it as this run's: its group is free now
    return refuse(made.error());
  }
  auto plan = std::make_unique<SpawnPlan>(std::move(*made));
  if (spare != 0 && begin_in_spare(plan)) return;

  auto network = take_network();
  if (!network) return refuse(network.error());
  describe(plan->child(), *network, *place);
  plan->child().group_tasks = place->tasks;
  if (plan->copies_inputs()) {
    auto apart = plan->start_apart(CLONE_NEWPID, place->born_into);
    if (!apart) {
      if (network->has_value()) give_back(std::move(**network));
      return refuse(apart.error());
    }
    ++starting_;
    sandboxes_.emplace(apart->process.pid, Sandbox{.run = run,
                                                   .network = std::move(*network),
                                                   .outcome = std::move(apart->outcome),
                                                   .pidfd = std::move(apart->process.pidfd)});
    return;
  }
  auto process = plan->start(stack_, CLONE_NEWPID, place->born_into);
  if (!process) {
    if (network->has_value()) give_back(std::move(**network));
    return refuse(process.error());
  }
  sandboxes_.emplace(process->pid, Sandbox{.run = run, .network = std::move(*network)});
  tell_launcher(socket_, Started{.run = run, .exec_us = plan->child().exec_us}, process->pidfd.get());
}

// The number of the one that waits for a run with these limits; 0: there is none.
std::uint64_t TemplateSandboxes::spare_for(const Limits& limits) const {
  const auto found = sandboxes_.find(spare_);
  return found != sandboxes_.end() && found->second.made->limits() == limits ? found->second.spare : 0;
}

// Where it has died meanwhile, the run is started as the first one was.
bool TemplateSandboxes::begin_in_spare(std::unique_ptr<SpawnPlan>& plan) {
  Sandbox& sandbox = sandboxes_.at(spare_);
  const std::uint64_t run = plan->run();
  describe(plan->child(), std::nullopt, {});
  auto apart = sandbox.made->begin(plan);
  spare_ = kNoProcess;
  if (!apart) {
    sandbox.made->kill();  // what came for it is this run's now, its group above all
    return false;
  }
  sandbox.run = run;
  sandbox.spare = 0;
  sandbox.outcome = std::move(apart->outcome);
  sandbox.pidfd = std::move(apart->process.pidfd);
  sandbox.begun_us = monotonic_us();
  ++starting_;
  return true;
}

void TemplateSandboxes::make_spare(const MakeSpare& request, std::vector<Fd> descriptors) {
  const auto refuse = [this, &request] { tell_launcher(socket_, SpareGone{.spare = request.spare}); };
  const auto place = split_off_place(descriptors, 0);
  auto stack = take_stack();
  if (!place || !stack || spare_ != kNoProcess) return refuse();
  auto network = take_network();
  if (!network) return refuse();
  ChildPlan set_up;
  describe(set_up, *network, *place);
  auto spare =
      SpareSandbox::make(set_up, request.limits, place->tasks, CLONE_NEWPID, place->born_into, std::move(*stack));
  if (!spare) {
    if (network->has_value()) give_back(std::move(**network));
    return refuse();
  }
  spare_ = (*spare)->pid();
  sandboxes_.emplace(spare_,
                     Sandbox{.spare = request.spare, .network = std::move(*network), .made = std::move(*spare)});
}

std::optional<ChildStack> TemplateSandboxes::take_stack() {
  if (idle_stacks_.empty()) {
    auto made = ChildStack::make();
    if (!made) return std::nullopt;
    idle_stacks_.push_back(std::move(*made));
  }
  ChildStack stack = std::move(idle_stacks_.back());
  idle_stacks_.pop_back();
  return stack;
}

void TemplateSandboxes::end_spare(std::uint64_t spare) {
  const auto found = sandboxes_.find(spare_);
  if (found == sandboxes_.end() || found->second.spare != spare) return;
  spare_ = kNoProcess;
  found->second.made->kill();
}

// Of others the launcher knows the process, or will in a moment.
void TemplateSandboxes::kill_start(std::uint64_t run) {
  for (const auto& [pid, sandbox] : sandboxes_) {
    if (sandbox.run == run && sandbox.pidfd) signal_process(sandbox.pidfd.get(), SIGKILL);
  }
}

void TemplateSandboxes::look_at_start(Sandbox& sandbox) {
  if (!sandbox.outcome) return;
  SpawnError why;
  const ssize_t got = ::read(sandbox.outcome.get(), &why, sizeof(why));
  if (got < 0 && errno == EAGAIN) return;  // it is on its way
  --starting_;
  sandbox.outcome.reset();
  if (got == sizeof(why)) {
    sandbox.failure = why;
    return;
  }
  // One that copies its inputs has memory of its own from the start, and cannot tell.
  const std::uint64_t exec_us = sandbox.made ? sandbox.made->exec_us() : monotonic_us();
  tell_launcher(socket_, Started{.run = sandbox.run, .exec_us = exec_us}, sandbox.pidfd.get());
  sandbox.pidfd.reset();
  recycle(sandbox);
}

// Its process has memory of its own, or is gone.
void TemplateSandboxes::recycle(Sandbox& sandbox) {
  if (const auto made = std::exchange(sandbox.made, nullptr)) idle_stacks_.push_back(std::move(*made).take_stack());
}

void TemplateSandboxes::reap() {
  reap_ended(child_signals_, [this](pid_t pid, int status, const rusage& used) {
    auto node = sandboxes_.extract(pid);
    if (node.empty()) return;
    Sandbox& sandbox = node.mapped();
    look_at_start(sandbox);
    recycle(sandbox);
    if (pid == spare_) spare_ = kNoProcess;
    if (sandbox.spare != 0) {
      tell_launcher(socket_, SpareGone{.spare = sandbox.spare});
    } else if (sandbox.failure.error != 0) {
      tell_launcher(socket_,
                    SpawnFailed{.run = sandbox.run, .step = sandbox.failure.step, .error = sandbox.failure.error});
    } else {
      tell_launcher(socket_, Exited{.run = sandbox.run,
                                    .how = WIFEXITED(status) ? Ending::code : Ending::signal,
                                    .value = static_cast<std::uint32_t>(WIFEXITED(status) ? WEXITSTATUS(status)
                                                                                          : WTERMSIG(status)),
                                    .usage = usage_of(used)});
    }
    if (sandbox.network) give_back(std::move(*sandbox.network));
  });
}

std::expected<std::optional<SandboxNetwork>, SpawnError> TemplateSandboxes::take_network() {
  if (!wants_networks()) return std::nullopt;
  while (idle_networks_.empty() && !returned_networks_.empty()) tidy_networks();
  if (idle_networks_.empty()) {
    auto made = enter_new_network_namespace();
    if (!made) return std::unexpected(SpawnError{.step = Step::network, .error = errno});
    return SandboxNetwork{.descriptor = std::move(*made), .tables = NetworkTables::open()};
  }
  std::optional<SandboxNetwork> network(std::move(idle_networks_.back()));
  idle_networks_.pop_back();
  return network;
}

void TemplateSandboxes::give_back(SandboxNetwork network) {
  ++network.uses;
  returned_networks_.push_back(std::move(network));
}

// Looks at one that was given back, or makes what the next run will need.
void TemplateSandboxes::tidy_networks() {
  if (returned_networks_.empty()) {
    auto made = enter_new_network_namespace();
    network_refused_ = !made.has_value();
    if (made) idle_networks_.push_back({.descriptor = std::move(*made), .tables = NetworkTables::open()});
    return;
  }
  SandboxNetwork network = std::move(returned_networks_.back());
  returned_networks_.pop_back();
  if (network.uses >= kNetworkUsesMax || idle_networks_.size() >= kIdleNetworksMax) return;
  // A socket in TIME_WAIT would hold a port of the next run.
  if (network.tables.is_clean()) idle_networks_.push_back(std::move(network));
}

}  // namespace millrace::launcher
