#include "app/orphans.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "core/fd.h"
#include "runtime/launcher/process_tree.h"

namespace millrace {
namespace {

using Clock = std::chrono::steady_clock;

void reap_by(pid_t child, Clock::time_point deadline) {
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
  static_cast<void>(::poll(&ended, 1, static_cast<int>(std::max<long>(left, 0))));
  ::waitpid(child, nullptr, WNOHANG);
}

}  // namespace

Result<void> adopt_orphans() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return fail(error_from_errno(errno, "adopt orphans"));
  return {};
}

bool end_orphans(std::span<const pid_t> ours, std::chrono::milliseconds patience) {
  const auto deadline = Clock::now() + patience;
  for (;;) {
    std::vector<pid_t> orphans = launcher::children_of(::getpid());
    std::erase_if(orphans, [ours](pid_t pid) { return std::ranges::find(ours, pid) != ours.end(); });
    if (orphans.empty()) return true;
    if (Clock::now() >= deadline) return false;
    for (const pid_t orphan : orphans) launcher::kill_tree(orphan);
    for (const pid_t orphan : orphans) reap_by(orphan, deadline);
  }
}

}  // namespace millrace
