// Stands for the launcher: echoes what the daemon says, takes fresh daemons, leaves at the end of its life line.
// --exit=N: leaves at once with this status. --tree=yes: starts processes that hide from it, and tells of them.
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "tests/integration/supervisor/fake_report.h"

using millrace::test::receive;
using millrace::test::report;

namespace {

constexpr unsigned kHiddenSeconds = 60;  // nothing is left of a test that fails

// A process in a session of its own whose parent is gone, with a child of its own. Both tell their numbers.
void hide_a_tree() {
  const pid_t parent = ::fork();
  if (parent != 0) {
    ::waitpid(parent, nullptr, 0);
    return;
  }
  if (::fork() != 0) ::_exit(0);
  ::setsid();
  ::signal(SIGTERM, SIG_IGN);
  report(::fork() == 0 ? "hidden child" : "hidden parent");
  ::alarm(kHiddenSeconds);
  for (;;) ::pause();
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int kLifeLine = 4;
  millrace::test::report_to(argc, argv);
  report("launcher start user=" + millrace::test::argument(argc, argv, "daemon-uid") +
         " exe=" + std::filesystem::read_symlink("/proc/self/exe").string());
  if (const auto status = millrace::test::argument(argc, argv, "exit"); !status.empty())
    return std::atoi(status.c_str());
  if (!millrace::test::argument(argc, argv, "tree").empty()) hide_a_tree();
  ::send(kLifeLine, "r", 1, MSG_NOSIGNAL);
  int daemon = 3;
  for (;;) {
    std::array<pollfd, 2> sources{{{kLifeLine, POLLIN, 0}, {daemon, POLLIN, 0}}};
    ::poll(sources.data(), sources.size(), -1);
    if (sources[0].revents != 0) {
      const auto got = receive(kLifeLine);
      if (got.bytes.empty()) break;
      if (daemon >= 0) ::close(daemon);
      daemon = got.fd;
      report("launcher new daemon");
      continue;
    }
    const auto got = receive(daemon);
    if (got.bytes.empty()) {
      report("launcher lost its daemon");
      ::close(daemon);
      daemon = -1;
    } else if (got.bytes == "drop") {
      ::close(daemon);
      daemon = -1;
    } else {
      ::send(daemon, got.bytes.data(), got.bytes.size(), MSG_NOSIGNAL);
    }
  }
  report("launcher end");
  return 0;
}
