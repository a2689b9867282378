#include "app/data_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>

#include "core/fd.h"
#include "formats/identity.h"

namespace millrace {
namespace {

constexpr int kFormatVersion = 1;

Result<void> make_directory(const std::string& path, mode_t mode, std::optional<UserIds> user) {
  if (::mkdir(path.c_str(), mode) != 0) {
    if (errno == EEXIST) return {};
    return fail(error_from_errno(errno, "make the data directory " + path));
  }
  if (user && ::chown(path.c_str(), user->uid, user->gid) != 0) {
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
Result<std::optional<int>> read_version(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
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

}  // namespace

Result<void> write_file(const std::string& path, const std::string& text) {
  const std::string aside = path + ".new";
  const Fd fd(::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(fd.get()) != 0 || ::rename(aside.c_str(), path.c_str()) != 0) {
    return fail(error_from_errno(errno, "write " + path));
  }
  return {};
}

Result<void> prepare_data_directory(const std::string& path, std::optional<UserIds> user) {
  if (!path.starts_with('/'))
    return fail(Errc::invalid_argument, "the data directory must be an absolute path: " + path);
  if (const auto made = make_parents(path); !made) return made;
  if (const auto made = make_directory(path, 0711, user); !made) return made;

  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return fail(error_from_errno(errno, "look at " + path));
  if (!S_ISDIR(info.st_mode)) return fail(Errc::failed_precondition, path + " is not a directory");
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
  const auto version = read_version(version_path);
  if (!version) return fail(version.error());
  if (*version && **version > kFormatVersion) {
    return fail(Errc::failed_precondition, "the data directory " + path + " has format " + std::to_string(**version) +
                                               ", this build knows up to " + std::to_string(kFormatVersion) +
                                               "; start it with the newer build, nothing was changed");
  }
  for (const char* name : {"/log", "/functions", "/scratch"}) {
    if (const auto made = make_directory(path + name, 0700, user); !made) return made;
  }
  if (const auto made = make_directory(path + "/buckets", 0755, user); !made) return made;
  if (*version) return {};
  return write_file(version_path, std::to_string(kFormatVersion) + "\n");
}

std::string instance_name(const std::string& path) {
  return "millrace-" + identity_hash({path}).substr(0, 8);
}

}  // namespace millrace
