// Stands for the daemon: pings every launcher that it is given, says when one is lost, drains on SIGTERM.
// --exit=N: leaves at once with this status. --status=N: leaves with it after SIGTERM; --deaf: ignores SIGTERM.
// SIGUSR1: asks the launcher to drop it. SIGUSR2: calls the launcher stuck.
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "tests/integration/supervisor/fake_report.h"

using millrace::test::receive;
using millrace::test::report;

namespace {

constexpr int kLifeLine = 3;
constexpr int kConfiguration = 4;

bool answers(int launcher) {
  if (::send(launcher, "ping", 4, MSG_NOSIGNAL) != 4) return false;
  return receive(launcher).bytes == "ping";
}

void say(char kind, const std::string& number) {
  const std::string message = kind + number;
  ::send(kLifeLine, message.data(), message.size(), MSG_NOSIGNAL);
}

std::string configuration() {
  std::array<char, 64> buffer{};
  const ssize_t got = ::pread(kConfiguration, buffer.data(), buffer.size(), 0);
  return {buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
}

}  // namespace

int main(int argc, char** argv) {
  const bool more_open = ::fcntl(5, F_GETFD) >= 0;  // before anything of our own is
  millrace::test::report_to(argc, argv);
  sigset_t wanted;
  ::sigemptyset(&wanted);
  for (const int signal : {SIGTERM, SIGUSR1, SIGUSR2}) ::sigaddset(&wanted, signal);
  ::sigprocmask(SIG_BLOCK, &wanted, nullptr);
  const int signals = ::signalfd(-1, &wanted, SFD_CLOEXEC);
  std::array<gid_t, 64> groups{};
  report("daemon start uid=" + std::to_string(::getuid()) +
         " groups=" + std::to_string(::getgroups(64, groups.data())) +
         " no_new_privs=" + std::to_string(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)) + " config=" + configuration() +
         " more=" + (more_open ? "yes" : "no"));
  if (const auto status = millrace::test::argument(argc, argv, "exit"); !status.empty())
    return std::atoi(status.c_str());

  int launcher = -1;
  std::string number;
  for (;;) {
    std::array<pollfd, 3> sources{{{signals, POLLIN, 0}, {kLifeLine, POLLIN, 0}, {launcher, POLLIN, 0}}};
    ::poll(sources.data(), sources.size(), -1);
    if (sources[1].revents != 0) {
      const auto got = receive(kLifeLine);
      if (got.bytes.empty()) {
        report("daemon alone");
        return 0;
      }
      if (launcher >= 0) ::close(launcher);
      launcher = got.fd;
      number = got.bytes.substr(1);
      if (answers(launcher)) report("daemon connected");
      continue;
    }
    if (sources[0].revents != 0) {
      signalfd_siginfo signal{};
      if (::read(signals, &signal, sizeof(signal)) < 0) return 92;
      if (signal.ssi_signo == SIGUSR1) ::send(launcher, "drop", 4, MSG_NOSIGNAL);
      if (signal.ssi_signo == SIGUSR2) say('k', number);
      if (signal.ssi_signo != SIGTERM) continue;
      if (!millrace::test::argument(argc, argv, "deaf").empty()) {
        report("daemon deaf");
        continue;
      }
      report(answers(launcher) ? "daemon drained" : "daemon cannot drain");
      return std::atoi(millrace::test::argument(argc, argv, "status").c_str());
    }
    if (receive(launcher).bytes.empty()) {
      ::close(launcher);
      launcher = -1;
      say('n', number);
    }
  }
}
