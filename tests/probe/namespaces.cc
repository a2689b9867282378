// D: namespaces and signals.
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "tests/probe/attempts.h"

namespace millrace::probe {
namespace {

template <int Flags>
long leave() {
  return answer(::unshare(Flags));
}

template <unsigned long Flags>
long clone_into() {
  const long child = answer(::syscall(SYS_clone, Flags | SIGCHLD, 0, 0, 0, 0));
  if (child == 0) ::_exit(0);
  return child;
}

template <std::uint64_t Flags>
long clone3_into() {
  clone_args arguments{};
  arguments.flags = Flags;
  arguments.exit_signal = SIGCHLD;
  const long child = answer(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (child == 0) ::_exit(0);
  return child;
}

// "1" stands for what belongs to the namespace's first process: itself, if nothing is wrong.
long enter(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return answer(fd);
  return answer(::setns(fd, 0));
}

long enter_by_pidfd() {
  const long fd = answer(::syscall(SYS_pidfd_open, ::getppid(), 0));
  if (fd < 0) return fd;
  return answer(::setns(static_cast<int>(fd), CLONE_NEWNS | CLONE_NEWNET));
}

// Everybody but ourselves and process 1 of this namespace, who started us.
long signal_a_stranger() {
  for (int pid = 3; pid < 40'000; ++pid) {
    if (pid != ::getpid() && pid != ::getppid() && ::kill(pid, 0) == 0) return pid;
  }
  return -ESRCH;
}

constexpr std::array kRows{
    Row{"D01", "a new user namespace", leave<CLONE_NEWUSER>, {EPERM}},
    Row{"D02", "a new mount namespace", leave<CLONE_NEWNS>, {EPERM}},
    Row{"D03", "a new pid namespace", leave<CLONE_NEWPID>, {EPERM}},
    Row{"D04", "a new network namespace", leave<CLONE_NEWNET>, {EPERM}},
    Row{"D05", "a new ipc namespace", leave<CLONE_NEWIPC>, {EPERM}},
    Row{"D06", "a new uts namespace", leave<CLONE_NEWUTS>, {EPERM}},
    Row{"D07", "a new cgroup namespace", leave<CLONE_NEWCGROUP>, {EPERM}},
    Row{"D08", "a new time namespace", leave<0x80>, {EPERM, EINVAL}},
    Row{"D09", "a child in a new user namespace", clone_into<CLONE_NEWUSER>, {EPERM}},
    Row{"D10", "a child in a new mount namespace", clone_into<CLONE_NEWNS>, {EPERM}},
    Row{"D11", "a child in a new user and network namespace", clone_into<CLONE_NEWUSER | CLONE_NEWNET>, {EPERM}},
    Row{"D12", "a child in a new pid namespace", clone_into<CLONE_NEWPID>, {EPERM}},
    Row{"D13", "clone3, whose flags a filter cannot see", clone3_into<CLONE_NEWUSER>, {ENOSYS}},
    Row{"D14", "clone3 into another control group", clone3_into<CLONE_INTO_CGROUP>, {ENOSYS}},
    Row{"D15", "enter a mount namespace", [] { return enter("/proc/1/ns/mnt"); }, {EPERM, EACCES}},
    Row{"D16", "enter a network namespace", [] { return enter("/proc/1/ns/net"); }, {EPERM, EACCES}},
    Row{"D17", "enter a pid namespace", [] { return enter("/proc/1/ns/pid"); }, {EPERM, EACCES}},
    Row{"D18", "enter a user namespace", [] { return enter("/proc/1/ns/user"); }, {EPERM, EACCES}},
    Row{"D19", "enter the namespaces of a process by its pidfd", enter_by_pidfd, {EPERM}},
    Row{"D20", "signal a process that is not ours", signal_a_stranger, {ESRCH}},
    Row{"D21", "set the host name", [] { return answer(::sethostname("x", 1)); }, {EPERM}},
    Row{"D22", "set the domain name", [] { return answer(::setdomainname("x", 1)); }, {EPERM}},
    Row{"D23",
        "compare a resource of two processes (kcmp)",
        [] { return answer(::syscall(SYS_kcmp, ::getpid(), ::getppid(), 0, 0, 0)); },
        {EPERM}},
};

}  // namespace

std::span<const Row> namespace_attempts() {
  return kRows;
}

}  // namespace millrace::probe
