#include "tests/contract/executor/launcher_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/protocol.h"

namespace millrace::test {
namespace {

constexpr int kProgram = launcher::kLifeLine + 1;

std::array<Fd, 2> socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) throw std::runtime_error("socketpair");
  return {Fd(ends[0]), Fd(ends[1])};
}

}  // namespace

bool LauncherProcess::is_root() {
  const char* as = std::getenv("MILLRACE_TEST_AS");
  return as == nullptr || std::string_view(as) != "user";
}

LauncherProcess::LauncherProcess(std::string prefix, std::uint32_t daemon_uid, const std::vector<std::string>& more) {
  auto daemon = socket_pair();
  auto life_line = socket_pair();
  const std::string prefix_argument = "--prefix=" + prefix;
  const std::string uid_argument = "--daemon-uid=" + std::to_string(daemon_uid);
  const std::string gid_argument = "--daemon-gid=" + std::to_string(daemon_uid);
  std::vector<const char*> arguments{"millrace-launcher", prefix_argument.c_str(), uid_argument.c_str(),
                                     gid_argument.c_str()};
  for (const std::string& argument : more) arguments.push_back(argument.c_str());
  arguments.push_back(nullptr);
  const std::uint32_t user = is_root() ? 0 : daemon_uid;
  // That user may have no way to where it was built.
  const Fd program(::open(MILLRACE_LAUNCHER, O_RDONLY | O_CLOEXEC));
  const pid_t pid = ::fork();
  if (pid == 0) {
    // Only what is safe after a fork beside other threads.
    const int socket = ::fcntl(daemon[1].get(), F_DUPFD, 20);
    const int line = ::fcntl(life_line[1].get(), F_DUPFD, 20);
    const int executable = ::fcntl(program.get(), F_DUPFD, 20);
    ::dup2(socket, launcher::kDaemonSocket);
    ::dup2(line, launcher::kLifeLine);
    ::dup2(executable, kProgram);
    ::fcntl(kProgram, F_SETFD, FD_CLOEXEC);
    ::close_range(kProgram + 1, ~0U, 0);
    if (::setresuid(0, 0, 0) != 0 || ::setresgid(user, user, user) != 0 || ::setresuid(user, user, user) != 0) {
      ::_exit(99);
    }
    ::fexecve(kProgram, const_cast<char* const*>(arguments.data()), environ);
    ::_exit(98);
  }
  pid_ = pid;
  socket_ = std::move(daemon[0]);
  life_line_ = std::move(life_line[0]);
  char ready = 0;
  if (::recv(life_line_.get(), &ready, 1, 0) != 1 || ready != launcher::kLifeLineReady) {
    throw std::runtime_error("the launcher does not start: " MILLRACE_LAUNCHER);
  }
}

LauncherProcess::~LauncherProcess() {
  if (pid_ > 0) stop();
}

Fd LauncherProcess::renew_socket() {
  auto ends = socket_pair();
  char byte = launcher::kLifeLineNewDaemon;
  iovec data{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = ends[1].get();
  std::memcpy(CMSG_DATA(rights), &fd, sizeof(int));
  if (::sendmsg(life_line_.get(), &message, MSG_NOSIGNAL) != 1) throw std::runtime_error("sendmsg to the launcher");
  return std::move(ends[0]);
}

std::size_t LauncherProcess::open_descriptors() const {
  std::size_t count = 0;
  const auto user = ::geteuid();
  ::seteuid(0);
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd")) {
    ++count;
  }
  ::seteuid(user);
  return count;
}

void LauncherProcess::kill() {
  ::kill(pid_, SIGKILL);
  wait();
}

int LauncherProcess::stop() {
  life_line_.reset();
  return wait();
}

int LauncherProcess::wait() {
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool process_exists(const std::string& argument) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    std::ostringstream line;
    line << file.rdbuf();  // may find the process gone, which iterators of the buffer would throw
    if (line.str().find(argument) != std::string::npos) return true;
  }
  return false;
}

}  // namespace millrace::test
