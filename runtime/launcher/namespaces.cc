#include "runtime/launcher/namespaces.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
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

constexpr std::size_t kTableBytesMax = 1024;

struct NamespaceKind {
  int flag;
  std::string_view name;
};

// All that sandboxes have of their own. The user namespace is first: the others are made in it, as templates do.
constexpr std::array kNamespaceKinds = {NamespaceKind{CLONE_NEWUSER, "user"},    NamespaceKind{CLONE_NEWNS, "mount"},
                                        NamespaceKind{CLONE_NEWPID, "pid"},      NamespaceKind{CLONE_NEWNET, "network"},
                                        NamespaceKind{CLONE_NEWIPC, "ipc"},      NamespaceKind{CLONE_NEWUTS, "uts"},
                                        NamespaceKind{CLONE_NEWCGROUP, "cgroup"}};

// A child that makes namespaces, says so, and stays until our end of its socket is closed: by us, or by the kernel if
// we die.
class NamespaceHolder {
 public:
  // `make` runs in the child.
  template <class Make>
  explicit NamespaceHolder(Make make) {
    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) return;
    socket_ = Fd(ends[0]);
    Fd theirs(ends[1]);
    const bool by_root = ::geteuid() == 0;
    pid_ = ::fork();
    if (pid_ == 0) {
      socket_.reset();
      char said = make() ? 'y' : 'n';
      // Root may write the maps of anybody. Others only of what lets itself be looked into; it is their own copy.
      if (!by_root) ::prctl(PR_SET_DUMPABLE, 1);
      if (::send(theirs.get(), &said, 1, MSG_NOSIGNAL) == 1) static_cast<void>(::read(theirs.get(), &said, 1));
      ::_exit(0);
    }
    theirs.reset();
    char said = 'n';
    made_ = pid_ > 0 && ::read(socket_.get(), &said, 1) == 1 && said == 'y';
  }
  ~NamespaceHolder() {
    socket_.reset();
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }
  NamespaceHolder(const NamespaceHolder&) = delete;
  NamespaceHolder& operator=(const NamespaceHolder&) = delete;

  [[nodiscard]] bool made() const { return made_; }
  [[nodiscard]] std::string proc() const { return "/proc/" + std::to_string(pid_); }

 private:
  Fd socket_;
  pid_t pid_ = -1;
  bool made_ = false;
};

std::unexpected<Error> refused_namespaces(std::string_view kind) {
  return fail(Errc::unimplemented, std::string("this host does not let ") + (::geteuid() == 0 ? "root" : "this user") +
                                       " make " + std::string(kind) + " namespaces");
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

Result<void> try_namespaces() {
  const pid_t child = ::fork();
  if (child == 0) {
    int tried = 0;
    for (const NamespaceKind& kind : kNamespaceKinds) {
      ++tried;
      if (::unshare(kind.flag) < 0) ::_exit(tried);
    }
    ::_exit(0);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
    return fail(Errc::unavailable, "no process could be started to try namespaces");
  }
  if (WEXITSTATUS(status) == 0) return {};
  const auto& refused = kNamespaceKinds.at(static_cast<std::size_t>(WEXITSTATUS(status)) - 1);
  return refused_namespaces(refused.name);
}

Result<Fd> make_user_namespace(const std::string& uid_map, const std::string& gid_map) {
  const NamespaceHolder holder([] { return ::unshare(CLONE_NEWUSER) == 0; });
  if (!holder.made()) return refused_namespaces("user");
  const Fd proc = open_directory(AT_FDCWD, holder.proc().c_str());
  if (!proc || !write_file(proc.get(), "uid_map", uid_map) || !write_file(proc.get(), "gid_map", gid_map)) {
    return fail(error_from_errno(errno, "write the id map of a user namespace"));
  }
  Fd made(::openat(proc.get(), "ns/user", O_RDONLY | O_CLOEXEC));
  if (!made) return fail(error_from_errno(errno, "open a user namespace"));
  return made;
}

Result<OwnedNetwork> make_owned_network(std::uint32_t uid, std::uint32_t gid) {
  const NamespaceHolder holder([uid, gid] {
    return ::setresgid(gid, gid, gid) == 0 && ::setresuid(uid, uid, uid) == 0 &&
           ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
  });
  if (!holder.made()) return fail(Errc::unimplemented, "this host does not let users make network namespaces");
  const auto map = [](std::uint32_t id) { return "0 " + std::to_string(id) + " 1\n"; };
  const Fd proc = open_directory(AT_FDCWD, holder.proc().c_str());
  if (!proc || !write_file(proc.get(), "uid_map", map(uid)) || !write_file(proc.get(), "gid_map", map(gid))) {
    return fail(error_from_errno(errno, "write the id map of a user namespace"));
  }
  OwnedNetwork made{.user = Fd(::openat(proc.get(), "ns/user", O_RDONLY | O_CLOEXEC)),
                    .network = Fd(::openat(proc.get(), "ns/net", O_RDONLY | O_CLOEXEC))};
  if (!made.user || !made.network) return fail(error_from_errno(errno, "open a network namespace"));
  return made;
}

Result<Fd> make_network_namespace(int user_namespace) {
  const NamespaceHolder holder(
      [user_namespace] { return ::setns(user_namespace, CLONE_NEWUSER) == 0 && ::unshare(CLONE_NEWNET) == 0; });
  Fd made;
  if (holder.made()) made = Fd(::open((holder.proc() + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  if (!made) return fail(error_from_errno(errno, "make a network namespace"));
  return made;
}

bool work_in_network(int network, const ChildStack& stack, const std::function<void()>& work) {
  struct Visit {
    int network;
    const std::function<void()>& work;
    bool done = false;
  } visit{.network = network, .work = work};
  clone_args arguments{};
  arguments.flags = CLONE_FILES | CLONE_VFORK;
  arguments.exit_signal = SIGCHLD;
  const auto enter = [](void* given) {
    Visit& self = *static_cast<Visit*>(given);
    if (::setns(self.network, CLONE_NEWNET) < 0) return;
    self.work();
    self.done = true;
  };
  const long pid = clone_sharing_memory(arguments, stack, enter, &visit);
  if (pid < 0) errno = static_cast<int>(-pid);
  const int error = errno;  // the child's, too
  if (pid > 0) ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  errno = error;
  return visit.done;
}

bool raise_loopback() {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return false;
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof(request.ifr_name) - 1);
  request.ifr_flags = IFF_UP;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

Result<Fd> enter_new_network_namespace() {
  if (::unshare(CLONE_NEWNET) < 0) return fail(error_from_errno(errno, "make a network namespace"));
  if (!raise_loopback()) return fail(error_from_errno(errno, "raise the loopback interface"));
  Fd made(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!made) return fail(error_from_errno(errno, "open a network namespace"));
  return made;
}

NetworkTables NetworkTables::open() {
  NetworkTables tables;
  // The tables of sockets themselves (/proc/net/tcp) cost milliseconds: their reader walks the hash of the whole host.
  tables.v4_ = Fd(::open("/proc/self/net/sockstat", O_RDONLY | O_CLOEXEC));
  tables.v6_ = Fd(::open("/proc/self/net/sockstat6", O_RDONLY | O_CLOEXEC));
  return tables;
}

bool NetworkTables::is_clean() const {
  std::array<char, kTableBytesMax> buffer{};
  const auto v4 = read_open_file(v4_, buffer);
  if (!is_zero(v4, "TCP", "inuse") || !is_zero(v4, "TCP", "tw") || !is_zero(v4, "UDP", "inuse")) return false;
  if (!v6_) return true;
  const auto v6 = read_open_file(v6_, buffer);
  return is_zero(v6, "TCP6", "inuse") && is_zero(v6, "UDP6", "inuse");
}

}  // namespace millrace::launcher
