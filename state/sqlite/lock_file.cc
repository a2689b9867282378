#include "state/sqlite/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

namespace millrace::sqlite {
namespace {

constexpr mode_t kOwnerOnly = 0600;

Error cannot_open(int error_number, const std::string& path) {
  Error error = error_from_errno(error_number, "open the state store " + path);
  if (error.code == Errc::permission_denied) {
    error.message +=
        "; the data directory must be writable by the daemon's user (uid " + std::to_string(::geteuid()) + ")";
  }
  if (error.code == Errc::not_found) error.message += "; create the data directory first";
  return error;
}

std::string owner_of(int fd) {
  std::array<char, 32> text{};
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  const std::string_view pid(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return std::string(pid.substr(0, pid.find('\n')));
}

}  // namespace

Result<Fd> lock_database(const std::string& path) {
  const std::string lock_path = path + ".lock";
  Fd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kOwnerOnly));
  if (!lock) return fail(cannot_open(errno, lock_path));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail(error_from_errno(errno, "lock " + lock_path));
    return fail(Errc::failed_precondition, "state store " + path + ": in use by another process (pid " +
                                               owner_of(lock.get()) +
                                               "); stop it first, or choose another data directory");
  }
  // For people who wonder whose lock it is; the lock itself is what counts.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.get(), 0) != 0 || ::pwrite(lock.get(), pid.data(), pid.size(), 0) < 0) {
    // On a full disk, say: only the message that another process would get is poorer for it.
  }
  const Fd database(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kOwnerOnly));
  if (!database) return fail(cannot_open(errno, path));
  return lock;
}

}  // namespace millrace::sqlite
