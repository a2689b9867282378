#include "runtime/launcher/namespaces.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

// A child that unshares, says so, and waits to be killed.
class NamespaceHolder {
 public:
  NamespaceHolder() {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return;
    const Fd reading(ends[0]);
    Fd writing(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) {
      const char said = ::unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
      if (::write(writing.get(), &said, 1) == 1) ::pause();
      ::_exit(0);
    }
    writing.reset();
    char said = 'n';
    made_ = pid_ > 0 && ::read(reading.get(), &said, 1) == 1 && said == 'y';
  }
  ~NamespaceHolder() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  NamespaceHolder(const NamespaceHolder&) = delete;
  NamespaceHolder& operator=(const NamespaceHolder&) = delete;

  [[nodiscard]] bool made() const { return made_; }
  [[nodiscard]] std::string proc() const { return "/proc/" + std::to_string(pid_); }

 private:
  pid_t pid_ = -1;
  bool made_ = false;
};

bool raise_loopback() {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return false;
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof(request.ifr_name) - 1);
  request.ifr_flags = IFF_UP;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

// Whether the line "<protocol>: ... <field> <number> ..." has 0 there, as sockstat(5) writes it.
bool is_zero(std::string_view text, std::string_view protocol, std::string_view field) {
  const std::string start = std::string(protocol) + ": ";
  for (auto at = text.find(start); at != std::string_view::npos; at = text.find(start, at + 1)) {
    if (at != 0 && text[at - 1] != '\n') continue;
    const auto line = text.substr(at, text.find('\n', at) - at);
    const std::string zero = " " + std::string(field) + " 0";
    const auto found = line.find(zero);
    return found != std::string_view::npos && (found + zero.size() == line.size() || line[found + zero.size()] == ' ');
  }
  return false;
}

}  // namespace

Result<Fd> make_user_namespace(const std::string& uid_map, const std::string& gid_map) {
  const NamespaceHolder holder;
  if (!holder.made()) return fail(Errc::unimplemented, "this host does not let root make user namespaces");
  const Fd proc = open_directory(AT_FDCWD, holder.proc().c_str());
  if (!proc.valid() || !write_file(proc.get(), "uid_map", uid_map) || !write_file(proc.get(), "gid_map", gid_map)) {
    return fail(error_from_errno(errno, "write the id map of a user namespace"));
  }
  Fd made(::openat(proc.get(), "ns/user", O_RDONLY | O_CLOEXEC));
  if (!made.valid()) return fail(error_from_errno(errno, "open a user namespace"));
  return made;
}

Result<Fd> enter_new_network_namespace() {
  if (::unshare(CLONE_NEWNET) < 0) return fail(error_from_errno(errno, "make a network namespace"));
  if (!raise_loopback()) return fail(error_from_errno(errno, "raise the loopback interface"));
  Fd made(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!made.valid()) return fail(error_from_errno(errno, "open a network namespace"));
  return made;
}

bool network_namespace_is_clean() {
  // The tables of sockets themselves (/proc/net/tcp) cost milliseconds: their reader walks the hash of the whole host.
  const auto v4 = read_file(AT_FDCWD, "/proc/self/net/sockstat");
  const auto v6 = read_file(AT_FDCWD, "/proc/self/net/sockstat6");
  if (!v4 || !is_zero(*v4, "TCP", "inuse") || !is_zero(*v4, "TCP", "tw") || !is_zero(*v4, "UDP", "inuse")) return false;
  // IPv6 may be off, then there is no second table.
  return !v6 || (is_zero(*v6, "TCP6", "inuse") && is_zero(*v6, "UDP6", "inuse"));
}

}  // namespace millrace::launcher
