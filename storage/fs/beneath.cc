#include "storage/fs/beneath.h"

#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "core/file_time.h"

namespace millrace::fs {
namespace {

constexpr mode_t kFolderMode = 0755;
constexpr int kResolveTries = 10;

}  // namespace

Fd open_beneath(int directory, const std::string& path, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(static_cast<unsigned>(flags)) | O_CLOEXEC;
  if ((flags & O_PATH) == 0) how.flags |= O_NONBLOCK | O_NOCTTY;
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: something was renamed during the walk and the kernel could not tell whether that led outside.
  for (int i = 0; i < kResolveTries; ++i) {
    const auto fd = syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
    if (fd >= 0) return Fd(static_cast<int>(fd));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return {};
}

Fd open_directory(int directory, const std::string& path) {
  return open_beneath(directory, path.empty() ? "." : path, O_RDONLY | O_DIRECTORY);
}

Error object_error(int error_number, std::string_view what) {
  const auto precondition = [&](std::string_view why) {
    return Error{.code = Errc::failed_precondition, .message = std::string(what) + ": " + std::string(why)};
  };
  switch (error_number) {
    case ELOOP: return precondition("leads through a symbolic link, which is never followed");
    case ENOTDIR: return precondition("a part of its path is a file, not a folder");
    case EISDIR: return precondition("there is a directory of that name");
    case EXDEV: return precondition("lies on another file system");
    case ENXIO:
    case ENODEV: return precondition("is no regular file");
    default: return error_from_errno(error_number, what);
  }
}

PathParts split_path(std::string_view path) {
  const auto slash = path.rfind('/');
  if (slash == std::string_view::npos) return {.folder = {}, .name = std::string(path)};
  return {.folder = std::string(path.substr(0, slash)), .name = std::string(path.substr(slash + 1))};
}

Result<Folder> make_folders(int directory, const std::string& folder) {
  Folder found{.fd = open_directory(directory, folder), .is_new = false};
  if (found.fd) return found;
  if (errno != ENOENT) return fail(object_error(errno, "open folder '" + folder + "'"));

  Folder current{.fd = open_directory(directory, ""), .is_new = false};
  if (!current.fd) return fail(error_from_errno(errno, "open the bucket"));
  for (std::size_t at = 0; at < folder.size();) {
    const auto end = std::min(folder.find('/', at), folder.size());
    const std::string part = folder.substr(at, end - at);
    if (mkdirat(current.fd.get(), part.c_str(), kFolderMode) == 0) {
      current.is_new = true;
    } else if (errno != EEXIST) {
      return fail(object_error(errno, "make folder '" + folder.substr(0, end) + "'"));
    }
    Fd next = open_directory(current.fd.get(), part);
    if (!next) return fail(object_error(errno, "open folder '" + folder.substr(0, end) + "'"));
    current.fd = std::move(next);
    at = end + 1;
  }
  return current;
}

Result<void> sync_folder(const Folder& folder, const std::string& name) {
  // With new folders one sync of everything is cheaper than a flush of the disk for each of them.
  const int failed = folder.is_new ? syncfs(folder.fd.get()) : fsync(folder.fd.get());
  if (failed != 0) return fail(error_from_errno(errno, "sync folder '" + name + "'"));
  return {};
}

ObjectVersion version_of(const struct stat& status) {
  return {.size_bytes = static_cast<std::uint64_t>(status.st_size),
          .mtime_ns = nanoseconds_of(status.st_mtim),
          .inode = status.st_ino};
}

bool change_mode(int fd, mode_t mode) {
  return chmod(("/proc/self/fd/" + std::to_string(fd)).c_str(), mode) == 0;
}

int rename_entry(int from_directory, const std::string& from, int to_directory, const std::string& to, unsigned flags) {
  return renameat2(from_directory, from.c_str(), to_directory, to.c_str(), flags) == 0 ? 0 : errno;
}

int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

}  // namespace millrace::fs
