#include "app/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>

#include "core/fd.h"
#include "core/ids.h"
#include "formats/identity.h"

namespace millrace {
namespace {

constexpr int kFormatVersion = 1;
constexpr std::size_t kIdentityBytes = 16;

// `beside`: the directory it lies in. That may belong to the daemon's user, who could put a link in the place of what
// root has just made: what is given away is what the descriptor names, and only if root made it.
Result<void> make_directory(int beside, const std::string& name, const std::string& path, mode_t mode,
                            std::optional<UserIds> user) {
  if (::mkdirat(beside, name.c_str(), mode) != 0) {
    if (errno == EEXIST) return {};
    return fail(error_from_errno(errno, "make the data directory " + path));
  }
  if (!user) return {};
  const Fd made(::openat(beside, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info{};
  if (!made || ::fstat(made.get(), &info) != 0) return fail(error_from_errno(errno, "open " + path));
  if (info.st_uid != ::geteuid()) {
    return fail(Errc::permission_denied, path + " was replaced while it was made; who else writes there?");
  }
  if (::fchown(made.get(), user->uid, user->gid) != 0) {
    return fail(error_from_errno(errno, "give " + path + " to the daemon's user"));
  }
  return {};
}

Result<void> make_parents(const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    if (::mkdir(path.substr(0, slash).c_str(), 0755) != 0 && errno != EEXIST) {
      return fail(error_from_errno(errno, "make " + path.substr(0, slash)));
    }
  }
  return {};
}

// Nothing: no version file yet.
Result<std::optional<int>> read_version(int directory, const std::string& path) {
  // Nothing there makes us wait: not a pipe either.
  const Fd fd(::openat(directory, "version", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd && errno == ENOENT) return std::optional<int>();
  if (!fd) return fail(error_from_errno(errno, "open " + path));
  std::array<char, 16> text{};
  const ssize_t n = ::read(fd.get(), text.data(), text.size());
  int version = 0;
  const char* end = text.data() + (n > 0 ? n : 0);
  if (n <= 0 || std::from_chars(text.data(), end, version).ec != std::errc{}) {
    return fail(Errc::data_loss, path + " does not hold a number: is this a data directory of Millrace?");
  }
  return std::optional(version);
}

bool holds(const std::string& path, const std::string& text) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) return false;
  std::string found(text.size() + 1, '\0');
  const ssize_t n = ::read(fd.get(), found.data(), found.size());
  found.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return found == text;
}

// " (process 123)" of whoever has the lock on this file, as far as the kernel tells.
std::string holder_of(int lock) {
  struct stat info{};
  if (::fstat(lock, &info) != 0) return {};
  // 1: FLOCK  ADVISORY  WRITE 123 08:01:4567 0 EOF
  std::ifstream locks("/proc/locks");
  const std::string inode = ":" + std::to_string(info.st_ino);
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, strictness, access, pid, file;
    words >> number >> kind >> strictness >> access >> pid >> file;
    if (kind == "FLOCK" && access == "WRITE" && file.ends_with(inode) && pid != "0") return " (process " + pid + ")";
  }
  return {};
}

}  // namespace

Result<void> write_file(const std::string& path, const std::string& text) {
  if (holds(path, text)) return {};
  const std::string aside = path + ".new";
  // A new file always: one that lies there could be another name of something else.
  static_cast<void>(::unlink(aside.c_str()));
  const Fd fd(::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(fd.get()) != 0 || ::rename(aside.c_str(), path.c_str()) != 0) {
    const int error = errno;
    static_cast<void>(::unlink(aside.c_str()));
    return fail(error_from_errno(error, "write " + path));
  }
  return {};
}

Result<void> prepare_data_directory(const std::string& path, std::optional<UserIds> user) {
  if (!path.starts_with('/'))
    return fail(Errc::invalid_argument, "the data directory must be an absolute path: " + path);
  if (const auto made = make_parents(path); !made) return made;
  if (const auto made = make_directory(AT_FDCWD, path, path, 0711, user); !made) return made;

  struct stat info{};
  const Fd directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory && errno == ENOTDIR) return fail(Errc::failed_precondition, path + " is not a directory");
  if (!directory || ::fstat(directory.get(), &info) != 0) return fail(error_from_errno(errno, "look at " + path));
  const uid_t owner = user ? user->uid : ::geteuid();
  if (info.st_uid != owner) {
    return fail(Errc::permission_denied, "the data directory " + path + " belongs to uid " +
                                             std::to_string(info.st_uid) + ", the daemon runs as uid " +
                                             std::to_string(owner) +
                                             "; chown it, or choose another with --data or --user");
  }
  if ((info.st_mode & S_IRWXU) != S_IRWXU) {
    return fail(Errc::permission_denied, "the data directory " + path +
                                             " may not be read and written by its owner; chmod u+rwx it, or choose "
                                             "another with --data");
  }
  if (!user && ::access(path.c_str(), W_OK | X_OK) != 0) {
    return fail(error_from_errno(errno, "write to the data directory " + path));
  }

  const std::string version_path = path + "/version";
  const auto version = read_version(directory.get(), version_path);
  if (!version) return fail(version.error());
  if (*version && **version > kFormatVersion) {
    return fail(Errc::failed_precondition, "the data directory " + path + " has format " + std::to_string(**version) +
                                               ", this build knows up to " + std::to_string(kFormatVersion) +
                                               "; start it with the newer build, nothing was changed");
  }
  for (const std::string name : {"log", "functions", "scratch"}) {
    const auto made = make_directory(directory.get(), name, path + "/" + name, 0700, user);
    if (!made) return made;
  }
  if (const auto made = make_directory(directory.get(), "buckets", path + "/buckets", 0755, user); !made) return made;
  if (*version) return {};
  return write_file(version_path, std::to_string(kFormatVersion) + "\n");
}

Result<Fd> lock_data_directory(const std::string& path) {
  Fd lock(::open((path + "/lock").c_str(), O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644));
  if (!lock) return fail(error_from_errno(errno, "open " + path + "/lock"));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return fail(error_from_errno(errno, "lock " + path + "/lock"));
  return fail(Errc::failed_precondition, "the data directory " + path + " is in use by another server" +
                                             holder_of(lock.get()) +
                                             "; stop it first, or choose another directory with --data: each daemon "
                                             "has its own");
}

Result<std::string> load_or_make_identity(const std::string& path) {
  const std::string file = path + "/node-id";
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (fd) {
    std::array<char, 64> text{};
    const ssize_t n = ::read(fd.get(), text.data(), text.size());
    std::string identity(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    while (identity.ends_with('\n')) identity.pop_back();
    if (identity.size() == 2 * kIdentityBytes) return identity;
    return fail(Errc::failed_precondition, file + " holds no identity of a node; remove it to get a new one");
  }
  if (errno != ENOENT) return fail(error_from_errno(errno, "open " + file));
  std::string identity = random_hex(kIdentityBytes);
  if (const auto written = write_file(file, identity + "\n"); !written) return fail(written.error());
  return identity;
}

std::string instance_name(const std::string& path) {
  return "millrace-" + identity_hash({path}).substr(0, 8);
}

}  // namespace millrace
