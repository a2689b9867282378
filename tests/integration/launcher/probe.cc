// The function of the launcher's tests: does what its first argument says. Static, so that it runs in any image.
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

namespace {

void say(const char* name, long result) {
  std::printf("%s %s\n", name, result >= 0 ? "ok" : ::strerrorname_np(errno));
}

int pause_for_ever() {
  std::printf("ready\n");
  std::fflush(stdout);
  for (;;) ::pause();
}

// A daemon as daemon(3) makes it, deaf for what a polite end would be.
int daemonize() {
  if (::fork() != 0) ::_exit(0);
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  ::signal(SIGTERM, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  return pause_for_ever();
}

int eat(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 3;
  std::memset(memory, 1, bytes);
  return 0;
}

int eat_in_child(std::size_t bytes) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(eat(bytes));
  int status = 0;
  ::waitpid(child, &status, 0);
  return pause_for_ever();
}

// Forks sleepers until the system refuses.
int forks(int most) {
  int made = 0;
  while (made < most) {
    const pid_t child = ::fork();
    if (child < 0) break;
    if (child == 0) {
      for (;;) ::pause();
    }
    ++made;
  }
  std::printf("%d\n", made);
  return 0;
}

// Every process forks as fast as it can.
// Where no control group bounds it, as for an ordinary user, the number of this user's processes does, and it ends by
// itself at last: whatever does not hold that is being tested, the machine and the tests beside this one go on.
int fork_bomb() {
  const rlimit most{.rlim_cur = 500, .rlim_max = 500};
  if (::setrlimit(RLIMIT_NPROC, &most) != 0) return 1;
  const std::time_t end = std::time(nullptr) + 60;
  std::printf("ready\n");
  std::fflush(stdout);
  // A refused fork costs the kernel memory that it gives back later: in an emulated machine too late, if nobody pauses.
  while (std::time(nullptr) < end) {
    if (::fork() < 0) ::usleep(10'000);
  }
  return 0;
}

int burn(int milliseconds) {
  const clock_t end = std::clock() + static_cast<clock_t>(milliseconds) * CLOCKS_PER_SEC / 1000;
  while (std::clock() < end) {
  }
  return 0;
}

int refused() {
  say("unshare_user", ::unshare(CLONE_NEWUSER));
  say("unshare_mount", ::unshare(CLONE_NEWNS));
  say("clone_user", ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
  clone_args arguments{};
  arguments.flags = CLONE_NEWUSER;
  arguments.exit_signal = SIGCHLD;
  say("clone3", ::syscall(SYS_clone3, &arguments, sizeof(arguments)));
  say("mount", ::mount("none", "/tmp", "tmpfs", 0, nullptr));
  say("umount", ::umount2("/tmp", MNT_DETACH));
  say("open_tree", ::syscall(SYS_open_tree, AT_FDCWD, "/tmp", OPEN_TREE_CLONE));
  say("fsopen", ::syscall(SYS_fsopen, "tmpfs", 0));
  const int own = ::open("/proc/self/ns/uts", O_RDONLY);
  say("setns", ::setns(own, 0));
  say("chroot", ::chroot("/tmp"));
  say("pivot_root", ::syscall(SYS_pivot_root, ".", "."));
  say("ptrace", ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
  say("process_vm_readv", ::syscall(SYS_process_vm_readv, ::getpid(), nullptr, 0, nullptr, 0, 0));
  say("bpf", ::syscall(SYS_bpf, 0, nullptr, 0));
  say("perf_event_open", ::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0));
  say("keyctl", ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
  say("add_key", ::syscall(SYS_add_key, "user", "k", "v", 1, KEY_SPEC_PROCESS_KEYRING));
  say("userfaultfd", ::syscall(SYS_userfaultfd, 0));
  say("io_uring_setup", ::syscall(SYS_io_uring_setup, 1, nullptr));
  say("kexec_load", ::syscall(SYS_kexec_load, 0, 0, nullptr, 0));
  say("init_module", ::syscall(SYS_init_module, nullptr, 0, ""));
  say("reboot", ::syscall(SYS_reboot, 0, 0, 0, nullptr));
  say("swapon", ::syscall(SYS_swapon, "/tmp", 0));
  say("open_by_handle_at", ::syscall(SYS_open_by_handle_at, 0, nullptr, 0));
  say("personality", ::syscall(SYS_personality, 0x0040000));
  say("personality_ask", ::syscall(SYS_personality, 0xffffffff));
  say("socket_vsock", ::socket(AF_VSOCK, SOCK_STREAM, 0));
  say("socket_packet", ::socket(AF_PACKET, SOCK_RAW, 0));
  say("socket_netlink", ::socket(AF_NETLINK, SOCK_RAW, 0));
  say("socket_alg", ::socket(AF_ALG, SOCK_SEQPACKET, 0));
  say("socket_inet", ::socket(AF_INET, SOCK_STREAM, 0));
  say("socket_raw", ::socket(AF_INET, SOCK_RAW, 1));
  say("socket_unix", ::socket(AF_UNIX, SOCK_STREAM, 0));
  char letter = 'x';
  say("tiocsti", ::ioctl(0, TIOCSTI, &letter));
  say("setuid0", ::setuid(0));
  say("mknod", ::mknod("/tmp/device", S_IFBLK | 0600, makedev(254, 0)));
  say("write_usr", ::open("/usr/millrace-was-here", O_CREAT | O_WRONLY, 0644));
  say("write_root", ::open("/millrace-was-here", O_CREAT | O_WRONLY, 0644));
  say("write_dev", ::open("/dev/millrace-was-here", O_CREAT | O_WRONLY, 0644));
  say("write_core_pattern", ::open("/proc/sys/kernel/core_pattern", O_WRONLY));
  say("write_sysrq", ::open("/proc/sysrq-trigger", O_WRONLY));
  say("kill_everyone", ::kill(-1, 0));
  say("lower_oom_score", [] {
    const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY);
    return fd < 0 ? -1L : static_cast<long>(::write(fd, "-1000", 5));
  }());
  return 0;
}

// What a function may do with an input and with its output directory.
int files() {
  struct stat status{};
  say("stat_input", ::stat("/tmp/in/a.txt", &status));
  std::printf("input_uid %u mode %o\n", status.st_uid, status.st_mode & 07777);
  say("write_input", ::open("/tmp/in/a.txt", O_WRONLY));
  say("truncate_input", ::truncate("/tmp/in/a.txt", 0));
  say("chmod_input", ::chmod("/tmp/in/a.txt", 0666));
  say("unlink_input", ::unlink("/tmp/in/a.txt"));
  say("create_beside_input", ::open("/tmp/in/b.txt", O_CREAT | O_WRONLY, 0644));
  say("create_output", ::open("/tmp/out/o.txt", O_CREAT | O_EXCL | O_WRONLY, 06755));
  say("rename_over_input", ::rename("/tmp/out/o.txt", "/tmp/in/a.txt"));
  say("link_input", ::link("/tmp/in/a.txt", "/tmp/out/link"));
  say("remount_input", ::mount(nullptr, "/tmp/in/a.txt", nullptr, MS_REMOUNT | MS_BIND, nullptr));
  say("symlink_output", ::symlink("/etc/shadow", "/tmp/out/shadow"));
  say("fifo_output", ::mkfifo("/tmp/out/fifo", 0600));
  say("device_output", ::mknod("/tmp/out/device", S_IFCHR | 0666, makedev(1, 3)));
  say("setuid_output", ::chmod("/tmp/out/o.txt", 06755));
  say("leave_output", ::open("/tmp/out/../../etc/passwd", O_WRONLY));
  return 0;
}

int descriptors() {
  for (int fd = 0; fd < 1024; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) std::printf("%d\n", fd);
  }
  return 0;
}

void exit_seven(int) {
  ::_exit(7);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const long number = argc > 2 ? std::atol(argv[2]) : 0;
  if (what == "exit") return static_cast<int>(number);
  if (what == "signal") return ::raise(static_cast<int>(number));
  if (what == "daemonize") return daemonize();
  if (what == "pause") return pause_for_ever();
  if (what == "stop") {
    std::printf("ready\n");
    std::fflush(stdout);
    return ::raise(SIGSTOP);
  }
  if (what == "stopped-child") {
    if (::fork() == 0) return ::raise(SIGSTOP);
    return pause_for_ever();
  }
  if (what == "ignore-term") {
    ::signal(SIGTERM, SIG_IGN);
    return pause_for_ever();
  }
  if (what == "on-term") {
    ::signal(SIGTERM, exit_seven);
    return pause_for_ever();
  }
  if (what == "eat") return eat(static_cast<std::size_t>(number));
  if (what == "eat-in-child") return eat_in_child(static_cast<std::size_t>(number));
  if (what == "forks") return forks(static_cast<int>(number));
  if (what == "fork-bomb") return fork_bomb();
  if (what == "burn") return burn(static_cast<int>(number));
  if (what == "refused") return refused();
  if (what == "files") return files();
  if (what == "descriptors") return descriptors();
  return 64;
}
