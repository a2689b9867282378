// Stands for the launcher: echoes what the daemon says, takes fresh daemons, leaves at the end of its life line.
// --exit=N: leaves at once with this status.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "tests/integration/supervisor/fake_report.h"

using millrace::test::receive;
using millrace::test::report;

int main(int argc, char** argv) {
  constexpr int kLifeLine = 4;
  millrace::test::report_to(argc, argv);
  report("launcher start user=" + millrace::test::argument(argc, argv, "daemon-uid") +
         " exe=" + std::filesystem::read_symlink("/proc/self/exe").string());
  if (const auto status = millrace::test::argument(argc, argv, "exit"); !status.empty())
    return std::atoi(status.c_str());
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
