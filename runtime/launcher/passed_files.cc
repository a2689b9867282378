#include "runtime/launcher/passed_files.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <string>
#include <utility>

#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

// A descriptor proves that the daemon may read the file; O_PATH would not.
bool is_open_for_reading(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_WRONLY;
}

bool is_read_only(int fd) {
  return is_open_for_reading(fd) && (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

// Replaces the daemon's descriptor by a detached mount of what it means; false with errno.
bool detach(Fd& fd, std::uint64_t attributes, const TemplateResources& resources) {
  Fd mount;
  if (resources.one_id) {
    const Fd here = find_here(fd.get());
    if (here) mount = clone_mount(here.get());
  } else {
    mount = clone_mount(fd.get());
  }
  if (!mount) return false;
  if (!set_mount_attributes(mount.get(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | attributes,
                            resources.idmap_namespace.get())) {
    return false;
  }
  fd = std::move(mount);
  return true;
}

bool take_output(Fd& fd, const LauncherOptions& options, const TemplateResources& resources) {
  struct stat status{};
  if (::fstat(fd.get(), &status) < 0) return false;
  if (!S_ISDIR(status.st_mode) || status.st_uid != options.daemon_uid || !is_read_only(fd.get())) {
    errno = EINVAL;
    return false;
  }
  return detach(fd, 0, resources);
}

bool take_input(Fd& fd, InputMode mode, const TemplateResources& resources) {
  struct stat status{};
  if (::fstat(fd.get(), &status) < 0) return false;
  const bool open = mode == InputMode::copy ? is_open_for_reading(fd.get()) : is_read_only(fd.get());
  if (!S_ISREG(status.st_mode) || !open) {
    errno = EINVAL;
    return false;
  }
  return mode == InputMode::copy || detach(fd, MOUNT_ATTR_RDONLY, resources);
}

}  // namespace

Fd find_here(int fd) {
  std::array<char, PATH_MAX> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), path.data(), path.size() - 1);
  struct stat wanted{};
  if (size < 0 || ::fstat(fd, &wanted) < 0) return {};
  open_how how{};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  // The kernel's own word for where it lies has no links in it.
  how.resolve = RESOLVE_NO_SYMLINKS;
  Fd found(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.data(), &how, sizeof(how))));
  struct stat status{};
  if (!found || ::fstat(found.get(), &status) < 0) return {};
  if (status.st_dev == wanted.st_dev && status.st_ino == wanted.st_ino) return found;
  errno = ENOENT;
  return {};
}

SpawnError take_files(const LauncherOptions& options, const TemplateResources& resources, const Spawn& request,
                      std::vector<Fd>& descriptors) {
  std::size_t next = descriptors.size() - request.inputs.size();
  if (request.output && !take_output(descriptors.at(next - 1), options, resources)) {
    return {.step = Step::output, .error = errno};
  }
  for (const Input& input : request.inputs) {
    if (!take_input(descriptors.at(next++), input.mode, resources)) return {.step = Step::input, .error = errno};
  }
  return {};
}

}  // namespace millrace::launcher
