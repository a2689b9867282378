// C: /proc and /sys.
#include <dirent.h>
#include <fcntl.h>
#include <sys/klog.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tests/probe/attempts.h"

namespace millrace::probe {
namespace {

// Errors of a file that is masked (empty), absent, or not for us.
constexpr std::array kMasked{ENODATA, EACCES, EPERM, EIO};
// Errors of a file that nobody in a sandbox writes.
constexpr std::array kUnwritable{EACCES, EROFS, EPERM, EINVAL};

long foreign_process() {
  DIR* const directory = ::opendir("/proc");
  if (directory == nullptr) return answer(-1);
  long found = -ESRCH;
  while (const dirent* entry = ::readdir(directory)) {
    const long pid = std::strtol(entry->d_name, nullptr, 10);
    if (pid > 0 && pid != ::getpid() && pid != ::getppid()) found = pid;
  }
  ::closedir(directory);
  return found;
}

long entries_of(const char* path) {
  DIR* const directory = ::opendir(path);
  if (directory == nullptr) return answer(-1);
  long count = 0;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  ::closedir(directory);
  return count == 0 ? -ENODATA : count;
}

template <int Kind>
long kernel_log() {
  std::array<char, 64> buffer{};
  return answer(::klogctl(Kind, buffer.data(), static_cast<int>(buffer.size())));
}

constexpr std::array kRows{
    Row{"C01", "read the machine's memory by /proc/kcore", [] { return try_read("/proc/kcore"); }, kMasked},
    Row{"C02", "read the kernel's addresses by /proc/kallsyms", [] { return try_read("/proc/kallsyms"); }, kMasked},
    Row{"C03", "read the kernel's configuration", [] { return try_read("/proc/config.gz"); }, kMasked},
    Row{"C04", "read the kernel's command line", [] { return try_read("/proc/cmdline"); }, kMasked},
    Row{"C05", "read keys of others", [] { return try_read("/proc/keys"); }, kMasked},
    Row{"C06", "count keys of others", [] { return try_read("/proc/key-users"); }, kMasked},
    Row{"C07", "read timers", [] { return try_read("/proc/timer_list"); }, kMasked},
    Row{"C08", "read the kernel's log by /proc/kmsg", [] { return try_read("/proc/kmsg"); }, kMasked},
    Row{"C09", "read the scheduler's tables", [] { return try_read("/proc/sched_debug"); }, kMasked},
    Row{"C10", "read interrupts, a timing channel", [] { return try_read("/proc/interrupts"); }, kMasked},
    Row{"C11", "list /proc/acpi", [] { return entries_of("/proc/acpi"); }, kMasked},
    Row{"C12", "list /proc/scsi", [] { return entries_of("/proc/scsi"); }, kMasked},
    Row{"C13", "list /sys", [] { return entries_of("/sys"); }, kMasked},
    Row{"C14", "read firmware by /sys", [] { return entries_of("/sys/firmware"); }, kMasked},
    Row{"C15", "list debugfs", [] { return entries_of("/sys/kernel/debug"); }, kMasked},
    Row{"C16", "list tracefs", [] { return entries_of("/sys/kernel/tracing"); }, kMasked},
    Row{"C17", "set the host's core_pattern", [] { return try_write("/proc/sys/kernel/core_pattern", "|/bin/sh"); },
        kUnwritable},
    Row{"C18", "set the host's modprobe program", [] { return try_write("/proc/sys/kernel/modprobe", "/tmp/x"); },
        kUnwritable},
    Row{"C19", "switch off address randomisation", [] { return try_write("/proc/sys/kernel/randomize_va_space", "0"); },
        kUnwritable},
    Row{"C20", "set the host's name by sysctl", [] { return try_write("/proc/sys/kernel/hostname", "x"); },
        kUnwritable},
    Row{"C21", "empty the host's caches", [] { return try_write("/proc/sys/vm/drop_caches", "3"); }, kUnwritable},
    Row{"C22", "overcommit memory", [] { return try_write("/proc/sys/vm/overcommit_memory", "1"); }, kUnwritable},
    Row{"C23", "forward packets, which the next run of the pool would meet",
        [] { return try_write("/proc/sys/net/ipv4/ip_forward", "1"); }, kUnwritable},
    Row{"C24", "change the range of ports", [] { return try_write("/proc/sys/net/ipv4/ip_local_port_range", "1 2"); },
        kUnwritable},
    Row{"C25", "raise the number of namespaces", [] { return try_write("/proc/sys/user/max_user_namespaces", "99"); },
        kUnwritable},
    Row{"C26", "register a binary format", [] { return try_write("/proc/sys/fs/binfmt_misc/register", ":x:"); },
        kUnwritable},
    Row{"C27",
        "pull the magic key",
        [] { return try_write("/proc/sysrq-trigger", "h"); },
        {EACCES, EROFS, EPERM, ENODATA}},
    Row{"C28", "move an interrupt", [] { return try_write("/proc/irq/default_smp_affinity", "1"); }, kUnwritable},
    Row{"C29", "be the last to be killed for memory", [] { return try_write("/proc/self/oom_score_adj", "-1000"); },
        kUnwritable},
    Row{"C30", "change one's map of user ids", [] { return try_write("/proc/self/uid_map", "0 0 1"); }, kUnwritable},
    Row{"C31", "change one's map of group ids", [] { return try_write("/proc/self/gid_map", "0 0 1"); }, kUnwritable},
    Row{"C32", "see processes of others", foreign_process, {ESRCH}},
    Row{"C33", "read the kernel's stack of a process", [] { return try_read("/proc/1/stack"); }, {EACCES, EPERM}},
    Row{"C34", "read the kernel's log", kernel_log<3>, {EPERM}},
    Row{"C35", "clear the kernel's log", kernel_log<5>, {EPERM}},
    Row{"C36", "ask for the size of the kernel's log", kernel_log<10>, {EPERM}},
    Row{"C37", "read physical memory", [] { return try_read("/dev/mem"); }, kMasked},
    Row{"C38",
        "write the LSM label of one's next program (CVE-2025-52881)",
        [] { return try_write("/proc/self/attr/exec", "unconfined"); },
        {EACCES, EINVAL, EPERM, ENOENT}},
};

}  // namespace

std::span<const Row> proc_attempts() {
  return kRows;
}

}  // namespace millrace::probe
