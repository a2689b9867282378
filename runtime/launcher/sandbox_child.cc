#include "runtime/launcher/sandbox_child.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "runtime/launcher/directory_image.h"
#include "runtime/launcher/raw_syscall.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

using raw::call;
using raw::word;

constexpr std::uint64_t kHere = static_cast<std::uint64_t>(static_cast<std::int64_t>(AT_FDCWD));
constexpr std::uint64_t kCopyBytes = 1 << 20;

// False, with step and error of the plan set, if the kernel's answer is an error.
bool good(ChildPlan& plan, Step step, long answer) {
  if (answer >= 0) return true;
  plan.step = step;
  plan.error = static_cast<int>(-answer);
  return false;
}

// A v1 group is entered by writing 0 to `tasks` by the only thread of the process: writing a pid to cgroup.procs waits
// for an RCU grace period (7.5 ms).
bool enter_groups(ChildPlan& plan) {
  for (const int tasks : plan.group_tasks) {
    if (!good(plan, Step::attach, call(SYS_write, word(tasks), word("0"), 1))) return false;
  }
  return true;
}

// Here and not by the clone, which the template would wait for; the one of pids is only had so. The group's after
// attaching, else the old group's path shows inside: where there are no groups, too, for the server's own is nobody's
// business.
bool enter_namespaces(ChildPlan& plan) {
  constexpr std::uint64_t kOwn = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (!good(plan, Step::clone, call(SYS_unshare, kOwn))) return false;
  return plan.network < 0 || good(plan, Step::network, call(SYS_setns, word(plan.network), CLONE_NEWNET));
}

bool mount_at(ChildPlan& plan, Step step, const char* type, const char* target, std::uint64_t flags,
              const char* options) {
  return good(plan, step, call(SYS_mount, word(type), word(target), word(type), flags, word(options)));
}

bool bind(ChildPlan& plan, Step step, const char* source, const char* target, std::uint64_t flags) {
  return good(plan, step, call(SYS_mount, word(source), word(target), 0, MS_BIND | flags, 0));
}

// The new root: the template's image below a tmpfs of this run, with the template's own /dev and secrets in it. The
// names are the template's, in its own root; the image has no say in them, since the skeleton lies over it.
bool make_own_root(ChildPlan& plan) {
  constexpr Step kStep = Step::copy_on_write;
  if (!mount_at(plan, kStep, "tmpfs", kUpperDirectory, MS_NOSUID | MS_NODEV, plan.upper_options)) return false;
  if (!good(plan, kStep, call(SYS_mkdirat, kHere, word("/.upper/u"), 0755))) return false;
  if (!good(plan, kStep, call(SYS_mkdirat, kHere, word("/.upper/w"), 0700))) return false;
  if (!good(plan, kStep, call(SYS_chown, word("/.upper/u"), plan.uid, plan.gid))) return false;
  if (!mount_at(plan, kStep, "overlay", kNewRootDirectory, MS_NOSUID | MS_NODEV,
                "lowerdir=/.image,upperdir=/.upper/u,workdir=/.upper/w,userxattr,volatile")) {
    return false;
  }
  if (!bind(plan, kStep, "/dev", "/.root/dev", MS_REC)) return false;
  if (plan.secrets && !bind(plan, kStep, kKeptSecretsDirectory, "/.root/run/secrets", 0)) return false;
  // As the template's own pivot_root, but in constant time: pivot_root looks at every task of the host.
  if (!good(plan, kStep, call(SYS_chdir, word(kNewRootDirectory)))) return false;
  if (!good(plan, kStep, call(SYS_mount, word("."), word("/"), 0, MS_MOVE, 0))) return false;
  return good(plan, kStep, call(SYS_chroot, word("."))) && good(plan, kStep, call(SYS_chdir, word("/")));
}

// Id 0 of a user namespace owns the network settings there, which would outlive the run in the pool.
bool protect_proc_sys(ChildPlan& plan) {
  for (const char* path : {"/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"}) {
    const long bound = call(SYS_mount, word(path), word(path), 0, MS_BIND, 0);
    if (bound == -ENOENT) continue;
    if (!good(plan, Step::mount_proc, bound)) return false;
    constexpr std::uint64_t kReadOnly = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (!good(plan, Step::mount_proc, call(SYS_mount, 0, word(path), 0, kReadOnly, 0))) return false;
  }
  return true;
}

bool mount_own_file_systems(ChildPlan& plan) {
  if (!mount_at(plan, Step::mount_proc, "proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr)) return false;
  if (plan.protect_proc_sys && !protect_proc_sys(plan)) return false;
  for (const ProcMask& mask : plan.proc_masks) {
    const long covered = call(SYS_mount, word(mask.source), word(mask.target), 0, MS_BIND, 0);
    if (!good(plan, Step::mount_proc, covered)) return false;
  }
  return mount_at(plan, Step::mount_scratch, "tmpfs", "/tmp", MS_NOSUID | MS_NODEV, plan.scratch_options) &&
         mount_at(plan, Step::mount_scratch, "tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  plan.scratch_options);
}

// What is written to a tmpfs counts for the group of the memory's owner: the child's, where SpawnPlan::copies_inputs().
long copy_file(int from, int to) {
  std::int64_t offset = 0;
  for (;;) {
    const long copied = call(SYS_sendfile, word(to), word(from), word(&offset), kCopyBytes);
    if (copied <= 0) return copied;
  }
}

bool attach_mount(ChildPlan& plan, Step step, int mount, int directory, const char* name) {
  return good(plan, step,
              call(SYS_move_mount, word(mount), word(""), word(directory), word(name), MOVE_MOUNT_F_EMPTY_PATH));
}

// Directory and mount points belong to the root of the namespace, so the function cannot unlink or replace them.
bool attach_inputs(ChildPlan& plan) {
  const long directory = call(SYS_openat, kHere, word("/tmp/in"), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (!good(plan, Step::input, directory)) return false;
  const int in = static_cast<int>(directory);
  for (const ChildInput& input : plan.inputs) {
    const long point =
        call(SYS_openat, word(in), word(input.name), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (!good(plan, Step::input, point)) return false;
    if (input.mode == InputMode::copy && !good(plan, Step::input, copy_file(input.fd, static_cast<int>(point)))) {
      return false;
    }
    call(SYS_close, static_cast<std::uint64_t>(point));
    if (input.mode == InputMode::mount && !attach_mount(plan, Step::input, input.fd, in, input.name)) return false;
  }
  return true;
}

// Only being read-only keeps the directory of inputs as it is.
bool protect_inputs(ChildPlan& plan) {
  constexpr std::uint64_t kReadOnly = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV;
  return bind(plan, Step::input, "/tmp/in", "/tmp/in", MS_REC) &&
         good(plan, Step::input, call(SYS_mount, 0, word("/tmp/in"), 0, kReadOnly, 0));
}

bool attach_files(ChildPlan& plan) {
  if (plan.output >= 0) {
    if (!attach_mount(plan, Step::output, plan.output, AT_FDCWD, "/tmp/out")) return false;
  } else if (!good(plan, Step::output, call(SYS_chmod, word("/tmp/out"), 01777))) {
    return false;
  }
  return attach_inputs(plan) && (!plan.owns_inputs || protect_inputs(plan));
}

// Both exist in any case: functions list the one and write into the other without asking.
bool make_directories(ChildPlan& plan) {
  return good(plan, Step::output, call(SYS_mkdirat, kHere, word("/tmp/out"), 0755)) &&
         good(plan, Step::input, call(SYS_mkdirat, kHere, word("/tmp/in"), 0755));
}

bool make_container(ChildPlan& plan) {
  if (!enter_namespaces(plan)) return false;
  if (plan.copy_on_write && !make_own_root(plan)) return false;
  return mount_own_file_systems(plan) && make_directories(plan);
}

bool furnish_container(ChildPlan& plan) {
  return attach_files(plan) &&
         good(plan, Step::hostname, call(SYS_sethostname, word(plan.hostname), plan.hostname_size));
}

bool arrange_descriptors(ChildPlan& plan) {
  for (int target = 0; target < 3; ++target) {
    const int source = plan.stdio[static_cast<std::size_t>(target)];
    if (!good(plan, Step::descriptors, call(SYS_dup3, word(source), word(target), 0))) return false;
  }
  return good(plan, Step::descriptors, call(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC));
}

bool drop_rights(ChildPlan& plan) {
  if (plan.change_user) {
    if (!good(plan, Step::identity, call(SYS_setgroups, 0, 0))) return false;
    if (!good(plan, Step::identity, call(SYS_setresgid, plan.gid, plan.gid, plan.gid))) return false;
    if (!good(plan, Step::identity, call(SYS_setresuid, plan.uid, plan.uid, plan.uid))) return false;
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  // Inheritable, as the template's are: the bounding set is empty, so a program of id 0 gets at exec what it inherits.
  std::array<__user_cap_data_struct, 2> kept{};
  for (std::size_t half = 0; half < kept.size(); ++half) {
    const auto bits = static_cast<std::uint32_t>(plan.capabilities >> (32 * half));
    kept[half] = {.effective = bits, .permitted = bits, .inheritable = bits};
  }
  if (!good(plan, Step::identity, call(SYS_capset, word(&header), word(kept.data())))) return false;
  if (!good(plan, Step::identity, call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1))) return false;
  if (plan.die_with_parent) {
    // After the change of user, which clears it.
    if (!good(plan, Step::identity, call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL))) return false;
    const bool orphaned = call(SYS_getppid) != static_cast<long>(plan.parent_pid);
    if (orphaned && !good(plan, Step::identity, -ESRCH)) return false;
  }
  return !plan.adopt_orphans || good(plan, Step::identity, call(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1));
}

// A sandbox's template has done it before.
void take_back_oom_score() {
  const long file = call(SYS_openat, kHere, word("/proc/self/oom_score_adj"), O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  call(SYS_write, static_cast<std::uint64_t>(file), word("0"), 1);
  call(SYS_close, static_cast<std::uint64_t>(file));
}

// As execvp does: the first candidate that exists decides, but one that may not be executed only counts if no other is
// found.
void exec_program(ChildPlan& plan) {
  long worst = -ENOENT;
  for (const char* path : plan.candidates) {
    const long answer = call(SYS_execve, word(path), word(plan.argv), word(plan.environment));
    if (answer == -EACCES) worst = answer;
    if (answer != -EACCES && answer != -ENOENT && answer != -ENOTDIR) {
      worst = answer;
      break;
    }
  }
  good(plan, Step::exec, worst);
}

}  // namespace

std::uint64_t compat_capabilities() {
  std::uint64_t bits = 0;
  for (const int capability :
       {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_NET_BIND_SERVICE}) {
    bits |= std::uint64_t{1} << capability;
  }
  return bits;
}

bool set_up_sandbox(ChildPlan& plan) {
  call(SYS_umask, 022);
  call(SYS_setsid);
  if (plan.take_back_oom_score) take_back_oom_score();
  return enter_groups(plan) && (!plan.container || make_container(plan));
}

void begin_in_sandbox(ChildPlan& plan) {
  if (plan.container && !furnish_container(plan)) return;
  if (!arrange_descriptors(plan)) return;
  for (const ChildLimit& limit : plan.limits) {
    const long set = call(SYS_prlimit64, 0, word(limit.resource), word(&limit.value), 0);
    if (!good(plan, Step::rlimit, set)) return;
  }
  if (!drop_rights(plan)) return;
  if (!good(plan, Step::working_directory, call(SYS_chdir, word(plan.working_directory)))) return;
  if (plan.filter != nullptr) {
    const long loaded = call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, word(plan.filter));
    if (!good(plan, Step::seccomp, loaded)) return;
  }
  const std::uint64_t no_signals = 0;
  call(SYS_rt_sigprocmask, SIG_SETMASK, word(&no_signals), 0, sizeof(no_signals));
  timespec now{};
  call(SYS_clock_gettime, CLOCK_MONOTONIC, word(&now));
  plan.exec_us = microseconds_of(now);
  exec_program(plan);
}

void sandbox_child(void* argument) {
  ChildPlan& plan = *static_cast<ChildPlan*>(argument);
  if (set_up_sandbox(plan)) begin_in_sandbox(plan);
}

}  // namespace millrace::launcher
