#include "runtime/launcher/template_process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/container_support.h"
#include "runtime/launcher/directory_image.h"
#include "runtime/launcher/host_image.h"
#include "runtime/launcher/namespaces.h"
#include "runtime/launcher/proc_masks.h"
#include "runtime/launcher/provided.h"
#include "runtime/launcher/run.h"
#include "runtime/launcher/spawn.h"
#include "runtime/launcher/system.h"
#include "runtime/launcher/vm_clone.h"

namespace millrace::launcher {
namespace {

constexpr std::size_t kIdleNetworksMax = 16;
constexpr std::uint32_t kNetworkUsesMax = 1000;
constexpr int kLastCapability = 63;  // more than any kernel has
// Id 0 is nobody special to execve and to changes of user, no capability becomes ambient, and all that for ever.
constexpr unsigned kLockedSecureBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                       SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                       SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
constexpr std::uint64_t kSandboxNamespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;

// A network namespace with nothing but loopback. Reused within one function revision only: no process in it may change
// rules or addresses, so it carries nothing over but sockets, and those are checked.
struct SandboxNetwork {
  Fd descriptor;
  NetworkTables tables;
  std::uint32_t uses = 0;
};

struct Sandbox {
  std::uint64_t run = 0;
  std::optional<SandboxNetwork> network;
  // While it copies inputs: how its start ends, and what is sent along when it has started.
  Fd outcome{};
  Fd pidfd{};
  SpawnError failure{};  // told when it is reaped
};

sock_fprog program_of(std::span<const sock_filter> filter) {
  return {.len = static_cast<unsigned short>(filter.size()), .filter = const_cast<sock_filter*>(filter.data())};
}

bool make_inheritable(std::uint64_t capabilities) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> own{};
  if (::syscall(SYS_capget, &header, own.data()) < 0) return false;
  for (std::size_t half = 0; half < own.size(); ++half) {
    own[half].inheritable = static_cast<std::uint32_t>(capabilities >> (32 * half));
  }
  return ::syscall(SYS_capset, &header, own.data()) == 0;
}

class TemplateProcess {
 public:
  explicit TemplateProcess(TemplatePlan& plan) : plan_(plan), socket_(std::move(plan.socket)) {}

  [[noreturn]] void run() {
    if (auto settled = settle(); !settled) {
      const ImageError& why = settled.error();
      say(PrepareFailed{.template_id = plan_.request.template_id,
                        .step = why.step,
                        .error = why.error,
                        .text = explain(why.what, why.error).substr(0, kTextBytesMax)});
      ::_exit(1);
    }
    say(Prepared{.template_id = plan_.request.template_id, .files = plan_.resources.files});
    for (;;) turn();
  }

 private:
  std::expected<void, ImageError> settle();
  std::expected<void, ImageError> enter_image();
  [[nodiscard]] bool take_own_mounts();
  [[nodiscard]] bool become_namespace_root();
  void find_masks();
  void turn();
  void read_request();
  void start(Spawn request, std::vector<Fd> descriptors);
  void look_at_start(Sandbox& sandbox);
  void kill_start(std::uint64_t run);
  void reap();
  void say(const Answer& answer, int descriptor = -1);
  std::expected<std::optional<SandboxNetwork>, SpawnError> take_network();
  void give_back(SandboxNetwork network);
  [[nodiscard]] bool wants_networks() const { return plan_.request.network == Network::none; }

  TemplatePlan& plan_;
  Fd socket_;
  Fd child_signals_;
  std::optional<ChildStack> stack_;
  sock_fprog inner_filter_{};
  std::vector<ProcMask> masks_;
  bool has_secrets_ = false;                   // in kKeptSecretsDirectory
  bool spare_refused_ = false;                 // then only a run's own need tries again
  std::vector<SandboxNetwork> idle_networks_;  // a stack: the last one is warm
  std::unordered_map<pid_t, Sandbox> sandboxes_;
  std::size_t starting_ = 0;  // sandboxes that copy inputs
};

bool TemplateProcess::take_own_mounts() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

bool TemplateProcess::become_namespace_root() {
  const bool one_id = plan_.resources.one_id;
  const uid_t id = runs_as_root(plan_.request) ? kTemplateUidBeside : 0;
  if (::setns(plan_.resources.user_namespace.get(), CLONE_NEWUSER) < 0) return false;
  if (!one_id && (::setgroups(0, nullptr) < 0 || ::setresgid(id, id, id) < 0 || ::setresuid(id, id, id) < 0)) {
    return false;
  }
  // Mounts of the namespace before are locked together in this one.
  if (::unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0) return false;
  // Sandboxes change no user on their way to the function: nothing of theirs may mean a right by itself.
  if (one_id && ::prctl(PR_SET_SECUREBITS, kLockedSecureBits) < 0) return false;
  // What sandboxes inherit must be made inheritable while the bounding set still has it.
  if (plan_.request.profile == Profile::compat && !make_inheritable(compat_capabilities())) return false;
  for (int capability = 0; capability <= kLastCapability; ++capability) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return false;
  ::prctl(PR_SET_DUMPABLE, 0);
  // After the change of user, which clears it. The end of the socket is the second line.
  return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

std::expected<void, ImageError> TemplateProcess::enter_image() {
  const Prepare& request = plan_.request;
  const TemplateResources& resources = plan_.resources;
  std::vector<ProvidedFile> provided;
  if (request.provided) {
    auto packed = read_sealed_memfd(resources.provided.get(), kProvidedBytesMax);
    auto files = packed ? unpack_provided(*packed) : Result<std::vector<ProvidedFile>>(fail(packed.error()));
    if (!files) {
      return std::unexpected(ImageError{.step = Step::provided, .error = EINVAL, .what = files.error().message});
    }
    provided = std::move(*files);
  }
  Fd image;
  if (request.image != Image::host) {
    // Where one id is mapped, owners are what they are.
    auto mounted = mount_image(resources.image.get(), resources.one_id ? -1 : resources.user_namespace.get());
    if (!mounted) return std::unexpected(mounted.error());
    image = std::move(*mounted);
  }
  if (!take_own_mounts()) {
    return std::unexpected(
        ImageError{.step = Step::root_file_system, .error = errno, .what = "make a mount namespace"});
  }
  const ImagePlan plan{.options = plan_.options,
                       .request = request,
                       .script_bytes = resources.script_bytes,
                       .provided = provided,
                       .run_id = resources.run_id,
                       .root_id = resources.root_id,
                       .one_id = resources.one_id};
  return request.image == Image::host ? enter_host_image(plan) : enter_directory_image(plan, image);
}

std::expected<void, ImageError> TemplateProcess::settle() {
  const auto failed = [](Step step, const char* what) {
    return std::unexpected(ImageError{.step = step, .error = errno, .what = what});
  };
  ::prctl(PR_SET_NAME, "millrace-templ");
  ::setsid();
  // Sandboxes inherit it: a launcher that must not be killed would have functions that cannot be.
  be_killable_for_memory();
  if (auto entered = enter_image(); !entered) return std::unexpected(entered.error());
  if (!become_namespace_root()) return failed(Step::user_namespace, "enter the function's user namespace");

  auto stack = ChildStack::make();
  if (!stack) return failed(Step::resources, "make a stack for children");
  stack_.emplace(std::move(*stack));
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  child_signals_ = Fd(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!child_signals_) return failed(Step::resources, "watch children");
  inner_filter_ = program_of(plan_.inner_filter);
  find_masks();
  struct stat kept{};
  has_secrets_ = ::lstat(kKeptSecretsDirectory, &kept) == 0;
  if (wants_networks()) {
    auto network = enter_new_network_namespace();
    if (!network) return failed(Step::network, "make a network namespace");
    idle_networks_.push_back({.descriptor = std::move(*network), .tables = NetworkTables::open()});
  }
  const sock_fprog outer_filter = program_of(plan_.outer_filter);
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &outer_filter) < 0) {
    return failed(Step::seccomp, "load the system call filter");
  }
  return {};
}

void TemplateProcess::find_masks() {
  for (const char* path : kMaskedPaths) {
    struct stat status{};
    // /sys is an empty directory of ours.
    if (::lstat(path, &status) == 0)
      masks_.push_back({.source = S_ISDIR(status.st_mode) ? "/sys" : "/dev/null", .target = path});
  }
}

void TemplateProcess::turn() {
  std::vector<pollfd> waiting{{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                              {.fd = child_signals_.get(), .events = POLLIN, .revents = 0}};
  if (starting_ != 0) {
    for (const auto& [pid, sandbox] : sandboxes_) {
      if (sandbox.outcome) waiting.push_back({.fd = sandbox.outcome.get(), .events = POLLIN, .revents = 0});
    }
  }
  const bool short_of_networks = wants_networks() && idle_networks_.empty() && !spare_refused_;
  const int ready = ::poll(waiting.data(), waiting.size(), short_of_networks ? 0 : -1);
  if (ready == 0 && short_of_networks) {
    // Nothing else to do: make what the next run will need.
    auto network = enter_new_network_namespace();
    spare_refused_ = !network.has_value();
    if (network) idle_networks_.push_back({.descriptor = std::move(*network), .tables = NetworkTables::open()});
    return;
  }
  if (starting_ != 0) {
    for (auto& [pid, sandbox] : sandboxes_) look_at_start(sandbox);
  }
  if (waiting[1].revents != 0) reap();
  if (waiting[0].revents != 0) read_request();
}

void TemplateProcess::read_request() {
  Datagram got;
  const Transfer transfer = receive(socket_.get(), got);
  if (transfer == Transfer::would_block) return;
  // Also when the launcher is gone: our end is the end of every sandbox.
  if (transfer != Transfer::done) ::_exit(0);
  auto request = decode_request(got.bytes);
  if (const auto* kill = request ? std::get_if<Kill>(&*request) : nullptr) return kill_start(kill->run);
  auto* spawn = request ? std::get_if<Spawn>(&*request) : nullptr;
  if (spawn == nullptr) ::_exit(2);
  start(std::move(*spawn), std::move(got.descriptors));
}

void TemplateProcess::start(Spawn request, std::vector<Fd> descriptors) {
  const std::uint64_t run = request.run;
  const auto refuse = [this, run](const SpawnError& why) {
    say(SpawnFailed{.run = run, .step = why.step, .error = why.error});
  };
  // Behind the request's own descriptors come a private network, and those of the group.
  const std::size_t own = descriptors_of(request);
  const std::size_t with_v2 = plan_.into_group ? 1 : 0;
  const std::size_t with_network = plan_.request.network == Network::outbound ? 1 : 0;
  if (descriptors.size() < own + with_network + with_v2) return refuse({.step = Step::request, .error = EINVAL});
  const Fd outbound = with_network != 0 ? std::move(descriptors[own]) : Fd();
  const auto first = static_cast<std::ptrdiff_t>(own + with_network);
  std::vector<Fd> group(std::make_move_iterator(descriptors.begin() + first),
                        std::make_move_iterator(descriptors.end()));
  descriptors.resize(own);
  std::vector<int> tasks;
  for (std::size_t i = 0; i + with_v2 < group.size(); ++i) tasks.push_back(group[i].get());

  auto plan = SpawnPlan::make(std::move(request), std::move(descriptors));
  if (!plan) return refuse(plan.error());
  auto network = take_network();
  if (!network) return refuse(network.error());
  ChildPlan& child = plan->child();
  child.container = true;
  child.group_tasks = tasks;
  // Where there are no groups, too: the group that the server is in is nobody's business.
  child.cgroup_namespace = true;
  child.network = network->has_value() ? (*network)->descriptor.get() : outbound.get();
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
  const int born_into = plan_.into_group ? group.back().get() : -1;
  if (plan->copies_inputs()) {
    auto apart = plan->start_apart(kSandboxNamespaces, born_into);
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
  auto process = plan->start(*stack_, kSandboxNamespaces, born_into);
  if (!process) {
    if (network->has_value()) give_back(std::move(**network));
    return refuse(process.error());
  }
  sandboxes_.emplace(process->pid, Sandbox{.run = run, .network = std::move(*network)});
  say(Started{.run = run}, process->pidfd.get());
}

// Of others the launcher knows the process, or will in a moment.
void TemplateProcess::kill_start(std::uint64_t run) {
  for (const auto& [pid, sandbox] : sandboxes_) {
    if (sandbox.run == run && sandbox.pidfd) signal_process(sandbox.pidfd.get(), SIGKILL);
  }
}

void TemplateProcess::look_at_start(Sandbox& sandbox) {
  if (!sandbox.outcome) return;
  SpawnError why;
  const ssize_t got = ::read(sandbox.outcome.get(), &why, sizeof(why));
  if (got < 0) return;  // it copies
  --starting_;
  sandbox.outcome.reset();
  if (got == 0) {
    say(Started{.run = sandbox.run}, sandbox.pidfd.get());
    sandbox.pidfd.reset();
  } else {
    sandbox.failure = why;
  }
}

void TemplateProcess::reap() {
  signalfd_siginfo discarded{};
  while (::read(child_signals_.get(), &discarded, sizeof(discarded)) > 0) {
  }
  for (;;) {
    int status = 0;
    rusage used{};
    const pid_t pid = ::wait4(-1, &status, WNOHANG, &used);
    if (pid <= 0) return;
    auto node = sandboxes_.extract(pid);
    if (node.empty()) continue;
    Sandbox& sandbox = node.mapped();
    look_at_start(sandbox);
    if (sandbox.failure.error != 0) {
      say(SpawnFailed{.run = sandbox.run, .step = sandbox.failure.step, .error = sandbox.failure.error});
    } else {
      say(Exited{.run = sandbox.run,
                 .how = WIFEXITED(status) ? Ending::code : Ending::signal,
                 .value = static_cast<std::uint32_t>(WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status)),
                 .usage = usage_of(used)});
    }
    if (sandbox.network) give_back(std::move(*sandbox.network));
  }
}

void TemplateProcess::say(const Answer& answer, int descriptor) {
  const auto bytes = encode(answer);
  if (!bytes) ::_exit(3);
  const std::span<const int> descriptors(&descriptor, descriptor >= 0 ? 1 : 0);
  for (;;) {
    const Transfer sent = send(socket_.get(), *bytes, descriptors);
    if (sent == Transfer::done) return;
    if (sent != Transfer::would_block) ::_exit(0);
    pollfd room{.fd = socket_.get(), .events = POLLOUT, .revents = 0};
    ::poll(&room, 1, -1);
  }
}

std::expected<std::optional<SandboxNetwork>, SpawnError> TemplateProcess::take_network() {
  if (!wants_networks()) return std::nullopt;
  if (idle_networks_.empty()) {
    auto made = enter_new_network_namespace();
    if (!made) return std::unexpected(SpawnError{.step = Step::network, .error = errno});
    return SandboxNetwork{.descriptor = std::move(*made), .tables = NetworkTables::open()};
  }
  std::optional<SandboxNetwork> network(std::move(idle_networks_.back()));
  idle_networks_.pop_back();
  return network;
}

void TemplateProcess::give_back(SandboxNetwork network) {
  if (++network.uses >= kNetworkUsesMax || idle_networks_.size() >= kIdleNetworksMax) return;
  // A socket in TIME_WAIT would hold a port of the next run.
  if (!network.tables.is_clean()) return;
  idle_networks_.push_back(std::move(network));
}

}  // namespace

void template_main(TemplatePlan plan) {
  TemplateProcess process(plan);
  process.run();
}

}  // namespace millrace::launcher
