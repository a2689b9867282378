// The launcher: starts every function process of Millrace. Small, static, single-threaded; reads nothing that users
// wrote but their file descriptors. See protocol.h for its conversation and launcher_options.h for its arguments.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "runtime/launcher/cgroup.h"
#include "runtime/launcher/container_support.h"
#include "runtime/launcher/host_rights.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/oci_runs.h"
#include "runtime/launcher/private_network.h"
#include "runtime/launcher/probe.h"
#include "runtime/launcher/raw_syscall.h"
#include "runtime/launcher/server.h"
#include "runtime/launcher/vm_clone.h"

namespace millrace::launcher {
namespace {

constexpr int kUsageError = 64;

int complain(std::string text) {
  text += '\n';
  [[maybe_unused]] const auto written = ::write(2, text.data(), text.size());
  return kUsageError;
}

// Descriptors 0 to 2 must be taken: children put their own there from higher numbers.
void fill_standard_descriptors() {
  for (int fd = ::open("/dev/null", O_RDWR); fd >= 0 && fd < kDaemonSocket; fd = ::dup(fd)) {
    if (fd == 2) return;
  }
}

void settle_signals() {
  // Children share this memory until they exec: no handler may run there, and a lease's end raises SIGIO here.
  // By the kernel's own call: the C library refuses the two signals it keeps for itself, and a parent that used
  // posix_spawn(3) hands exactly those down as ignored.
  const struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    std::uint64_t mask;
  } standard{SIG_DFL, 0, nullptr, 0};
  for (int signal = 1; signal < NSIG; ++signal) {
    raw::call(SYS_rt_sigaction, raw::word(signal), raw::word(&standard), 0, sizeof(standard.mask));
  }
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
}

void settle_process() {
  ::umask(022);
  ::prctl(PR_SET_DUMPABLE, 0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  // A run holds a few descriptors here, a pooled group a dozen.
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::fcntl(kDaemonSocket, F_SETFD, FD_CLOEXEC);
  ::fcntl(kLifeLine, F_SETFD, FD_CLOEXEC);
}

bool is_socket(int fd) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

int run(std::span<const char* const> arguments) {
  auto options = parse_launcher_options(arguments);
  if (!options) return complain(options.error().message);
  if (!is_socket(kDaemonSocket) || !is_socket(kLifeLine)) {
    return complain(
        "launcher: descriptors 3 and 4 must be the sockets to the daemon and the supervisor; "
        "it is started by `millrace serve`");
  }
  settle_signals();
  const HostRights rights = take_host_rights();
  settle_process();
  auto stack = ChildStack::make();
  if (!stack) return complain("launcher: " + stack.error().message);
  const auto groups = make_group_driver(options->prefix, kTemplateUid);
  ContainerSupport containers(*options, rights);
  PrivateNetworks networks(*options, rights, *stack);
  Hello hello = probe_host(rights, *groups, containers, networks);
  options->runtimes = usable_runtimes(*options, containers, hello.no_runtimes);
  for (const OciRuntime& runtime : options->runtimes) hello.runtimes.push_back(runtime.name);
  if (!hello.runtimes.empty()) hello.no_runtimes.clear();
  Server server(*options, rights, std::move(hello), *groups, containers, networks, *stack, Fd(kLifeLine),
                Fd(kDaemonSocket));
  const int status = server.serve();
  groups->remove_all();
  return status;
}

}  // namespace
}  // namespace millrace::launcher

int main(int argc, char** argv) {
  if (::fcntl(0, F_GETFD) < 0 || ::fcntl(1, F_GETFD) < 0 || ::fcntl(2, F_GETFD) < 0) {
    millrace::launcher::fill_standard_descriptors();
  }
  const std::span<const char* const> arguments(argv, static_cast<std::size_t>(argc));
  return millrace::launcher::run(arguments.subspan(argc > 0 ? 1 : 0));
}
