#include "app/child_process.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace millrace {
namespace {

constexpr int kFirstDescriptor = 3;
constexpr unsigned kMfdExec = 0x10;  // MFD_EXEC, since Linux 6.3; the C library's headers are older

std::optional<unsigned> parse_id(std::string_view text) {
  unsigned id = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, id);
  if (error != std::errc() || rest != end) return std::nullopt;
  return id;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const std::string& text : strings) result.push_back(const_cast<char*>(text.c_str()));  // NOLINT: exec's types
  result.push_back(nullptr);
  return result;
}

// ---- in the child

// What the parent reads if the child could not become the program.
struct StartFailure {
  std::array<char, 24> step{};
  int error = 0;
};

[[noreturn]] void give_up(int report, const char* step) {
  StartFailure failure;
  failure.error = errno;
  std::strncpy(failure.step.data(), step, failure.step.size() - 1);
  [[maybe_unused]] const auto written = ::write(report, &failure, sizeof(failure));
  ::_exit(127);
}

void reset_signals() {
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void raise_file_limit() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

void change_user(const UserIds& user, int report) {
  if (::setgroups(0, nullptr) != 0) give_up(report, "setgroups");
  if (::setresgid(user.gid, user.gid, user.gid) != 0) give_up(report, "setresgid");
  if (::setresuid(user.uid, user.uid, user.uid) != 0) give_up(report, "setresuid");
}

[[noreturn]] void become(const ChildProgram& program, char* const* argv, char* const* environment, int report) {
  reset_signals();
  ::setpgid(0, 0);
  raise_file_limit();
  // First out of the way, then to their places: a source may lie where another one's place is.
  const int above = kFirstDescriptor + static_cast<int>(program.descriptors.size());
  std::vector<int> sources;
  for (const int fd : program.descriptors) {
    sources.push_back(::fcntl(fd, F_DUPFD_CLOEXEC, above));
    if (sources.back() < 0) give_up(report, "dup");
  }
  const int executable = ::fcntl(program.executable, F_DUPFD_CLOEXEC, above);
  const int report_above = ::fcntl(report, F_DUPFD_CLOEXEC, above);
  if (executable < 0 || report_above < 0) give_up(report, "dup");
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (::dup2(sources[i], kFirstDescriptor + static_cast<int>(i)) < 0) give_up(report_above, "dup2");
  }
  if (::close_range(static_cast<unsigned>(above), ~0U, CLOSE_RANGE_CLOEXEC) != 0) give_up(report_above, "close_range");
  if (program.user) change_user(*program.user, report_above);
  if (program.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up(report_above, "prctl");
  ::syscall(SYS_execveat, executable, "", argv, environment, AT_EMPTY_PATH);
  give_up(report_above, "exec");
}

}  // namespace

Result<UserIds> find_user(std::string_view name) {
  const auto colon = name.find(':');
  const auto uid = parse_id(name.substr(0, colon));
  if (uid) {
    const auto gid = colon == std::string_view::npos ? uid : parse_id(name.substr(colon + 1));
    if (gid) return UserIds{.uid = *uid, .gid = *gid};
  }
  std::array<char, 16384> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  const std::string text(name);
  const int error = ::getpwnam_r(text.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (error != 0) return fail(error_from_errno(error, "look up the user '" + text + "'"));
  if (found == nullptr) {
    return fail(Errc::not_found, "user '" + text + "' does not exist: make it (useradd --system --no-create-home " +
                                     text +
                                     "), name another one by --user NAME or --user UID:GID, or say --stay-root yes");
  }
  return UserIds{.uid = found->pw_uid, .gid = found->pw_gid};
}

Result<ChildProcess> start_child(const ChildProgram& program) {
  const std::string name = program.argv.empty() ? "program" : program.argv.front();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(error_from_errno(errno, "start " + name));
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const auto argv = pointers(program.argv);
  const auto environment = pointers(program.environment);
  ChildProcess child;
  child.pid = ::fork();
  if (child.pid < 0) return fail(error_from_errno(errno, "start " + name));
  if (child.pid == 0) become(program, argv.data(), environment.data(), writer.get());
  writer.reset();

  StartFailure failure;
  ssize_t got = 0;
  do got = ::read(reader.get(), &failure, sizeof(failure));
  while (got < 0 && errno == EINTR);
  if (got == sizeof(failure)) {
    ::waitpid(child.pid, nullptr, 0);
    return fail(error_from_errno(failure.error, "start " + name + " (" + failure.step.data() + ")"));
  }
  child.pidfd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.pidfd) {
    const Error error = error_from_errno(errno, "watch " + name);
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    return fail(error);
  }
  return child;
}

std::optional<ChildEnd> reap(const ChildProcess& child) {
  int status = 0;
  if (::waitpid(child.pid, &status, WNOHANG) != child.pid) return std::nullopt;
  if (WIFSIGNALED(status)) return ChildEnd{.code = 0, .signal = WTERMSIG(status)};
  return ChildEnd{.code = WEXITSTATUS(status), .signal = 0};
}

Result<Fd> sealed_program(std::string_view name, std::span<const std::byte> image) {
  const std::string text(name);
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Fd file(::memfd_create(text.c_str(), kFlags | kMfdExec));
  if (!file && errno == EINVAL) file = Fd(::memfd_create(text.c_str(), kFlags));
  if (!file) return fail(error_from_errno(errno, "make a memory file for " + text));
  while (!image.empty()) {
    const ssize_t put = ::write(file.get(), image.data(), image.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail(error_from_errno(errno, "fill the memory file of " + text));
    image = image.subspan(static_cast<std::size_t>(put));
  }
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    return fail(error_from_errno(errno, "seal the memory file of " + text));
  }
  return file;
}

}  // namespace millrace
