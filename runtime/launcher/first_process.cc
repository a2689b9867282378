#include "runtime/launcher/first_process.h"

#include <linux/sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace millrace::launcher {

FirstProcess start_first_process(int group) {
  FirstProcess made;
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) < 0) {
    made.error = errno;
    return made;
  }
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_NEWPID | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (group >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(group);
  }
  made.pid = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (made.pid < 0) made.error = errno;
  if (made.pid > 0) made.process = Fd(pidfd);
  made.socket = made.pid == 0 ? std::move(theirs) : std::move(ours);
  return made;
}

}  // namespace millrace::launcher
