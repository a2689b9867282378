// E: privilege.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>

#include "tests/probe/attempts.h"

namespace millrace::probe {
namespace {

// A line of /proc/self/status, without its name.
std::string status_of(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return line.substr(name.size() + 2);
  }
  return {};
}

template <const char* const* Name>
long has_capabilities() {
  return status_of(*Name) == "0000000000000000" ? -EPERM : 0;
}
constexpr const char* kEffective = "CapEff";
constexpr const char* kPermitted = "CapPrm";
constexpr const char* kBounding = "CapBnd";
constexpr const char* kAmbient = "CapAmb";

// More than what `compat` is given.
long has_dangerous_capabilities() {
  constexpr std::uint64_t kCompat = 0x4fb;
  return (std::stoull(status_of("CapEff"), nullptr, 16) & ~kCompat) == 0 ? -EPERM : 0;
}

long take_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> all{};
  for (auto& half : all) half = {.effective = ~0U, .permitted = ~0U, .inheritable = 0};
  return answer(::syscall(SYS_capset, &header, all.data()));
}

long load_emptier_filter() {
  return ::prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER ? -EPERM : 0;
}

long i386_entry() {
#if defined(__x86_64__)
  long result = 20;  // getpid there
  // NOLINTNEXTLINE(hicpp-no-assembler): the old entry cannot be reached otherwise.
  asm volatile("int $0x80" : "+a"(result) : : "memory", "cc", "r8", "r9", "r10", "r11");
  return result;
#else
  return -ENOSYS;
#endif
}

long x32_entry() {
  return answer(::syscall(0x4000'0000 + SYS_getpid));
}

long write_to_parent() {
  char byte = 0;
  const iovec here{.iov_base = &byte, .iov_len = 1};
  return answer(::syscall(SYS_process_vm_writev, ::getppid(), &here, 1, &here, 1, 0));
}

long read_from_parent() {
  char byte = 0;
  const iovec here{.iov_base = &byte, .iov_len = 1};
  return answer(::syscall(SYS_process_vm_readv, ::getppid(), &here, 1, &here, 1, 0));
}

long steal_descriptor() {
  const long parent = answer(::syscall(SYS_pidfd_open, ::getppid(), 0));
  return parent < 0 ? parent : answer(::syscall(SYS_pidfd_getfd, parent, 0, 0));
}

long type_into_terminal() {
  char letter = 'x';
  return answer(::ioctl(0, TIOCSTI, &letter));
}

long paste_selection() {
  char what = 3;
  return answer(::ioctl(0, TIOCLINUX, &what));
}

// Lets it go again: it is who waits for us.
long trace_process_one() {
  const long attached = answer(::ptrace(PTRACE_ATTACH, 1, nullptr, nullptr));
  if (attached < 0) return attached;
  ::waitpid(1, nullptr, __WALL);
  ::ptrace(PTRACE_DETACH, 1, nullptr, nullptr);
  return 0;
}

long set_clock() {
  const timespec now{.tv_sec = 1, .tv_nsec = 0};
  return answer(::syscall(SYS_clock_settime, CLOCK_REALTIME, &now));
}

long set_time_of_day() {
  const timeval now{.tv_sec = 1, .tv_usec = 0};
  return answer(::syscall(SYS_settimeofday, &now, nullptr));
}

long raise_limit() {
  const rlimit more{.rlim_cur = 1U << 30, .rlim_max = 1U << 30};
  return answer(::setrlimit(RLIMIT_NOFILE, &more));
}

long write_core() {
  const rlimit core{.rlim_cur = 1, .rlim_max = 1};
  return answer(::setrlimit(RLIMIT_CORE, &core));
}

long raise_priority() {
  return answer(::setpriority(PRIO_PROCESS, 0, -5));
}

constexpr std::array kRows{
    Row{"E01", "have a capability in effect", has_capabilities<&kEffective>, {EPERM}, Allowed::compat},
    Row{"E02", "have a capability at hand", has_capabilities<&kPermitted>, {EPERM}, Allowed::compat},
    Row{"E03", "have a capability beyond those of `compat`", has_dangerous_capabilities, {EPERM}},
    Row{"E04", "have a capability that a program could bring", has_capabilities<&kBounding>, {EPERM}},
    Row{"E05", "have an ambient capability", has_capabilities<&kAmbient>, {EPERM}},
    Row{"E06", "take all capabilities", take_capabilities, {EPERM}},
    Row{"E07",
        "gain privilege by a program (no_new_privs is off)",
        [] { return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? -EPERM : 0L; },
        {EPERM}},
    Row{"E08", "take no_new_privs back", [] { return answer(::prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)); }, {EINVAL}},
    Row{"E09", "run without a filter of system calls", load_emptier_filter, {EPERM}},
    Row{"E10", "become another user", [] { return answer(::setuid(12345)); }, {EPERM, EINVAL}, Allowed::compat},
    Row{"E11", "become another group", [] { return answer(::setgid(12345)); }, {EPERM, EINVAL}, Allowed::compat},
    Row{"E12",
        "become the user of all templates",
        [] { return answer(::syscall(SYS_setresuid, 65535, 65535, 65535)); },
        {EPERM, EINVAL}},
    Row{"E13",
        "become it for files only, which tells nothing",
        [] {
          ::syscall(SYS_setfsuid, 65535);
          return ::syscall(SYS_setfsuid, -1) == 65535 ? 0L : -EPERM;
        },
        {EPERM}},
    Row{"E14",
        "become a user outside of the map",
        [] { return answer(::syscall(SYS_setresuid, 70000, 70000, 70000)); },
        {EPERM, EINVAL}},
    Row{"E15",
        "join the group of the disk",
        [] {
          const gid_t disk = 100000;
          return answer(::syscall(SYS_setgroups, 1, &disk));
        },
        {EPERM, EINVAL}},
    Row{"E16",
        "give a file to root of the host",
        [] { return answer(::chown("/tmp", 100000, 100000)); },
        {EPERM, EINVAL}},
    Row{"E17", "trace process 1", trace_process_one, {EPERM}},
    Row{"E18", "be traced", [] { return answer(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }, {EPERM}},
    Row{"E19", "read another process's memory", read_from_parent, {EPERM}},
    Row{"E20", "write another process's memory", write_to_parent, {EPERM}},
    Row{"E21", "take another process's descriptor", steal_descriptor, {EPERM}},
    Row{"E22",
        "advise another process's memory",
        [] { return answer(::syscall(SYS_process_madvise, -1, nullptr, 0, 0, 0)); },
        {EPERM}},
    Row{"E23",
        "add a key",
        [] { return answer(::syscall(SYS_add_key, "user", "k", "v", 1, KEY_SPEC_USER_KEYRING)); },
        {EPERM}},
    Row{"E24", "ask for a key", [] { return answer(::syscall(SYS_request_key, "user", "k", nullptr, 0)); }, {EPERM}},
    Row{"E25",
        "find the session's keyring",
        [] { return answer(::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)); },
        {EPERM}},
    Row{"E26", "load a BPF program", [] { return answer(::syscall(SYS_bpf, 5, nullptr, 0)); }, {EPERM}},
    Row{"E27", "make a BPF map", [] { return answer(::syscall(SYS_bpf, 0, nullptr, 0)); }, {EPERM}},
    Row{"E28",
        "open a performance counter",
        [] { return answer(::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0)); },
        {EPERM}},
    Row{"E29", "handle page faults of the kernel", [] { return answer(::syscall(SYS_userfaultfd, 0)); }, {EPERM}},
    Row{"E30", "set up an io_uring", [] { return answer(::syscall(SYS_io_uring_setup, 1, nullptr)); }, {EPERM}},
    Row{"E31",
        "enter an io_uring",
        [] { return answer(::syscall(SYS_io_uring_enter, 0, 1, 0, 0, nullptr, 0)); },
        {EPERM}},
    Row{"E32", "load a module", [] { return answer(::syscall(SYS_init_module, nullptr, 0, "")); }, {EPERM}},
    Row{"E33", "load a module from a file", [] { return answer(::syscall(SYS_finit_module, 0, "", 0)); }, {EPERM}},
    Row{"E34", "unload a module", [] { return answer(::syscall(SYS_delete_module, "overlay", 0)); }, {EPERM}},
    Row{"E35", "load another kernel", [] { return answer(::syscall(SYS_kexec_load, 0, 0, nullptr, 0)); }, {EPERM}},
    Row{"E36",
        "load another kernel from a file",
        [] { return answer(::syscall(SYS_kexec_file_load, 0, 0, 0, "", 0)); },
        {EPERM}},
    Row{"E37", "restart the machine", [] { return answer(::syscall(SYS_reboot, 0, 0, 0, nullptr)); }, {EPERM}},
    Row{"E38", "swap to a file", [] { return answer(::syscall(SYS_swapon, "/tmp", 0)); }, {EPERM}},
    Row{"E39", "stop swapping", [] { return answer(::syscall(SYS_swapoff, "/tmp")); }, {EPERM}},
    Row{"E40", "account processes to a file", [] { return answer(::syscall(SYS_acct, "/tmp/x")); }, {EPERM}},
    Row{"E41", "change quotas", [] { return answer(::syscall(SYS_quotactl, 0, "/tmp", 0, nullptr)); }, {EPERM}},
    Row{"E42", "set the clock", set_clock, {EPERM}},
    Row{"E43", "set the time of day", set_time_of_day, {EPERM}},
    Row{"E44", "tune the clock", [] { return answer(::syscall(SYS_adjtimex, nullptr)); }, {EPERM}},
    Row{"E45", "reach ports of the machine (iopl)", [] { return answer(::syscall(SYS_iopl, 3)); }, {EPERM}},
    Row{"E46", "reach ports of the machine (ioperm)", [] { return answer(::syscall(SYS_ioperm, 0, 1, 1)); }, {EPERM}},
    Row{"E47", "change a segment descriptor", [] { return answer(::syscall(SYS_modify_ldt, 0, nullptr, 0)); }, {EPERM}},
    Row{"E48",
        "read the implicit personality of old programs",
        [] { return answer(::syscall(SYS_personality, 0x0400000)); },
        {EPERM}},
    Row{"E49",
        "switch off address randomisation of oneself",
        [] { return answer(::syscall(SYS_personality, 0x0040000)); },
        {EPERM}},
    Row{"E50", "make system calls by the 32-bit entry", i386_entry, {}},
    Row{"E51", "make system calls by the x32 entry", x32_entry, {}},
    Row{"E52", "type into a terminal (TIOCSTI)", type_into_terminal, {EPERM}},
    Row{"E53", "paste into a terminal (TIOCLINUX)", paste_selection, {EPERM}},
    Row{"E54",
        "watch the whole file system (fanotify)",
        [] { return answer(::syscall(SYS_fanotify_init, 0, 0)); },
        {EPERM}},
    Row{"E55", "hang up the terminal", [] { return answer(::syscall(SYS_vhangup)); }, {EPERM}},
    Row{"E56",
        "move another process's pages",
        [] { return answer(::syscall(SYS_move_pages, 1, 0, nullptr, nullptr, nullptr, 0)); },
        {EPERM}},
    Row{"E57",
        "migrate another process's pages",
        [] { return answer(::syscall(SYS_migrate_pages, 1, 0, nullptr, nullptr)); },
        {EPERM}},
    Row{"E58", "raise a hard limit", raise_limit, {EPERM}},
    Row{"E59", "write a core dump", write_core, {EPERM}},
    Row{"E60", "run before everybody else", raise_priority, {EACCES, EPERM}},
    Row{"E61",
        "run in real time",
        [] {
          const int priority = 1;
          return answer(::syscall(SYS_sched_setscheduler, 0, 1, &priority));
        },
        {EPERM}},
    Row{"E62",
        "lock more memory than allowed",
        [] {
          const rlimit all{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
          return answer(::setrlimit(RLIMIT_MEMLOCK, &all));
        },
        {EPERM}},
    Row{"E63", "read the host's shadow passwords", [] { return try_read("/etc/shadow"); }, {EACCES}},
    Row{"E64",
        "change a security module's state",
        [] { return answer(::syscall(460, 0, nullptr, 0, 0)); },
        {EPERM, ENOSYS}},
    Row{"E65", "a system call that the filter does not know", [] { return answer(::syscall(500)); }, {ENOSYS}},
};

}  // namespace

std::span<const Row> privilege_attempts() {
  return kRows;
}

}  // namespace millrace::probe
