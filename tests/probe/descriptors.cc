// A: descriptors and working directory.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/probe/attempts.h"

namespace millrace::probe {
namespace {

constexpr int kDescriptorsLooked = 4096;

long descriptor_above_two() {
  for (int fd = 3; fd < kDescriptorsLooked; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) return fd;
  }
  return -EBADF;
}

// The way of CVE-2024-21626: a working directory or descriptor that is still on the host.
long out_by_descriptor() {
  for (int fd = 0; fd < 64; ++fd) {
    const std::string path = "/proc/self/fd/" + std::to_string(fd) + "/../../../etc/shadow";
    if (::access(path.c_str(), F_OK) == 0) return fd;
  }
  return -ENOTDIR;
}

long working_directory_is_reachable() {
  std::array<char, 4096> path{};
  if (::getcwd(path.data(), path.size()) == nullptr) return answer(-1);
  return std::strncmp(path.data(), "(unreachable)", 13) == 0 ? 0 : -EPERM;
}

long same_directory(const char* left, const char* right) {
  struct stat a{};
  struct stat b{};
  if (::stat(left, &a) < 0 || ::stat(right, &b) < 0) return answer(-1);
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino ? -EPERM : 0;
}

long above_the_root() {
  return same_directory("/", "/../../../..");
}

long root_of_process_one() {
  return same_directory("/", "/proc/1/root");
}

long climb_by_openat() {
  int fd = ::open("/", O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 64 && fd >= 0; ++i) {
    const int up = ::openat(fd, "..", O_RDONLY | O_DIRECTORY);
    ::close(fd);
    fd = up;
  }
  struct stat a{};
  struct stat b{};
  if (fd < 0 || ::fstat(fd, &a) < 0 || ::stat("/", &b) < 0) return answer(-1);
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino ? -EPERM : 0;
}

long escape_deleted_directory() {
  if (::mkdir("/tmp/gone", 0700) < 0 || ::chdir("/tmp/gone") < 0 || ::rmdir("/tmp/gone") < 0) return answer(-1);
  return try_open("../../../../../etc/shadow", O_RDONLY);
}

long control_terminal() {
  return try_open("/dev/tty", O_RDWR);
}

long reopen_stdin_for_writing() {
  struct stat status{};
  if (::fstat(0, &status) < 0) return answer(-1);
  if (S_ISFIFO(status.st_mode)) return -EPERM;  // a pipe of its own: nothing to gain
  return try_open("/proc/self/fd/0", O_RDWR);
}

// The first process of a sandbox is the function's own program, and nothing of ours.
long launcher_is_process_one() {
  std::array<char, 4096> path{};
  const long size = answer(::readlink("/proc/1/exe", path.data(), path.size() - 1));
  if (size < 0) return -EPERM;
  const std::string_view text(path.data(), static_cast<std::size_t>(size));
  return text.find("launcher") != std::string_view::npos || text.find("memfd") != std::string_view::npos ? 0 : -EPERM;
}

constexpr std::array kRows{
    Row{"A01", "find a descriptor above 2 that was left open", descriptor_above_two, {EBADF}},
    Row{"A02", "leave by /proc/self/fd/N/../.. (CVE-2024-21626)", out_by_descriptor, {ENOTDIR, ENOENT, EACCES}},
    Row{"A03", "stand in a directory outside of the root", working_directory_is_reachable, {EPERM}},
    Row{"A04", "climb above / by a path", above_the_root, {EPERM}},
    Row{"A05", "climb above / by descriptors", climb_by_openat, {EPERM}},
    Row{"A06", "find another root behind /proc/1/root", root_of_process_one, {EPERM, EACCES}},
    Row{"A07", "leave through a working directory that was removed", escape_deleted_directory, {ENOENT, EACCES}},
    Row{"A08",
        "overwrite the program of process 1 (CVE-2019-5736)",
        [] { return try_open("/proc/1/exe", O_WRONLY); },
        {ETXTBSY, EACCES, EROFS, EPERM}},
    Row{"A09",
        "overwrite one's own program",
        [] { return try_open("/proc/self/exe", O_WRONLY | O_TRUNC); },
        {ETXTBSY, EACCES, EROFS, EPERM}},
    Row{"A10", "open a terminal of whoever started us", control_terminal, {ENXIO, EIO}},
    Row{"A11", "reopen standard input with more rights", reopen_stdin_for_writing, {EPERM, EACCES, EROFS, ENXIO}},
    Row{"A12", "find the launcher behind /proc/1/exe", launcher_is_process_one, {EPERM}},
};

}  // namespace

std::span<const Row> descriptor_attempts() {
  return kRows;
}

}  // namespace millrace::probe
