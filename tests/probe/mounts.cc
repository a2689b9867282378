// B: mounts and paths.
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/probe/attempts.h"

namespace millrace::probe {
namespace {

long mount_type(const char* type, const char* options = nullptr) {
  return answer(::mount(type, "/tmp", type, 0, options));
}

long remount_writable(const char* path) {
  return answer(::mount(nullptr, path, nullptr, MS_REMOUNT | MS_BIND, nullptr));
}

bool mountinfo_has(std::string_view text) {
  std::ifstream file("/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.find(text) != std::string::npos) return true;
  }
  return false;
}

long not_in_mountinfo(std::string_view text) {
  return mountinfo_has(text) ? 0 : -ENOENT;
}

long create_in(const char* path) {
  const long fd = answer(::open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (fd >= 0) ::unlink(path);
  return fd;
}

long name_handle() {
  struct {
    file_handle head;
    unsigned char bytes[128];
  } handle{};
  handle.head.handle_bytes = sizeof(handle.bytes);
  int mount_id = 0;
  return answer(::syscall(SYS_name_to_handle_at, AT_FDCWD, "/", &handle, &mount_id, 0));
}

long set_attributes() {
  mount_attr wanted{};
  wanted.attr_clr = MOUNT_ATTR_RDONLY;
  return answer(::syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &wanted, sizeof(wanted)));
}

long chroot_and_back() {
  if (::mkdir("/tmp/jail", 0700) < 0) return answer(-1);
  const int root = ::open("/", O_RDONLY | O_DIRECTORY);
  const long jailed = answer(::chroot("/tmp/jail"));
  ::rmdir("/tmp/jail");
  if (jailed < 0) return jailed;
  return answer(::fchdir(root));
}

constexpr std::array kRows{
    Row{"B01", "mount a tmpfs", [] { return mount_type("tmpfs"); }, {EPERM}},
    Row{"B02", "mount a fresh proc", [] { return mount_type("proc"); }, {EPERM}},
    Row{"B03", "mount sysfs", [] { return mount_type("sysfs"); }, {EPERM}},
    Row{"B04", "mount debugfs", [] { return mount_type("debugfs"); }, {EPERM}},
    Row{"B05", "mount an overlay of /", [] { return mount_type("overlay", "lowerdir=/:/usr"); }, {EPERM}},
    Row{"B06",
        "bind / elsewhere",
        [] { return answer(::mount("/", "/tmp", nullptr, MS_BIND | MS_REC, nullptr)); },
        {EPERM}},
    Row{"B07", "move a mount", [] { return answer(::mount("/proc", "/tmp", nullptr, MS_MOVE, nullptr)); }, {EPERM}},
    Row{"B08",
        "share mounts with others",
        [] { return answer(::mount(nullptr, "/", nullptr, MS_SHARED | MS_REC, nullptr)); },
        {EPERM}},
    Row{"B09", "make / writable", [] { return remount_writable("/"); }, {EPERM}},
    Row{"B10", "make the inputs writable", [] { return remount_writable("/tmp/in"); }, {EPERM}},
    Row{"B11", "make /dev writable", [] { return remount_writable("/dev"); }, {EPERM}},
    Row{"B12",
        "take away the mask of /proc/kcore",
        [] { return answer(::umount2("/proc/kcore", MNT_DETACH)); },
        {EPERM}},
    Row{"B13", "take away /proc", [] { return answer(::umount2("/proc", MNT_DETACH)); }, {EPERM}},
    Row{"B14", "take away /", [] { return answer(::umount2("/", MNT_DETACH)); }, {EPERM}},
    Row{"B15", "pivot_root", [] { return answer(::syscall(SYS_pivot_root, ".", ".")); }, {EPERM}},
    Row{"B16", "chroot, and out by an open directory", chroot_and_back, {EPERM}},
    Row{"B17", "fsopen a file system", [] { return answer(::syscall(SYS_fsopen, "tmpfs", 0)); }, {EPERM}},
    Row{"B18", "fspick the mount of /", [] { return answer(::syscall(SYS_fspick, AT_FDCWD, "/", 0)); }, {EPERM}},
    Row{"B19", "fsconfig", [] { return answer(::syscall(SYS_fsconfig, 0, 0, "a", "b", 0)); }, {EPERM}},
    Row{"B20", "fsmount", [] { return answer(::syscall(SYS_fsmount, 0, 0, 0)); }, {EPERM}},
    Row{"B21",
        "clone a mount by open_tree",
        [] { return answer(::syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE)); },
        {EPERM}},
    Row{"B22",
        "move_mount",
        [] { return answer(::syscall(SYS_move_mount, AT_FDCWD, "/", AT_FDCWD, "/tmp", 0)); },
        {EPERM}},
    Row{"B23", "clear read-only by mount_setattr", set_attributes, {EPERM}},
    Row{"B24", "name a file by handle", name_handle, {EPERM}},
    Row{"B25",
        "open a file by handle",
        [] { return answer(::syscall(SYS_open_by_handle_at, 0, nullptr, 0)); },
        {EPERM}},
    Row{"B26",
        "list mounts by listmount",
        [] { return answer(::syscall(458, nullptr, nullptr, 0, 0)); },
        {EPERM, ENOSYS}},
    Row{"B27", "ask statmount", [] { return answer(::syscall(457, nullptr, nullptr, 0, 0)); }, {EPERM, ENOSYS}},
    Row{"B28", "find a mount that propagates to the host", [] { return not_in_mountinfo(" shared:"); }, {ENOENT}},
    Row{"B29", "find a mount that the host propagates", [] { return not_in_mountinfo(" master:"); }, {ENOENT}},
    Row{"B30", "find the control groups mounted", [] { return not_in_mountinfo(" cgroup"); }, {ENOENT}},
    Row{"B31",
        "find in mountinfo where the image lies on the host",
        [] { return not_in_mountinfo("images"); },
        {ENOENT}},
    Row{"B32",
        "write below /usr or /bin",
        [] { return create_in("/bin/was-here"); },
        {EROFS, EACCES},
        Allowed::own_root},
    Row{"B33", "write into /oscar", [] { return create_in("/oscar/was-here"); }, {EROFS, EACCES}, Allowed::own_root},
    Row{"B34",
        "replace the script",
        [] { return try_open("/oscar/config/script.sh", O_WRONLY); },
        {EROFS, EACCES, ENOENT},
        Allowed::own_root},
    Row{"B35", "write into /dev", [] { return create_in("/dev/was-here"); }, {EROFS, EACCES}},
    Row{"B36", "replace /dev/null", [] { return answer(::unlink("/dev/null")); }, {EROFS, EACCES, EBUSY}},
    Row{"B37", "change the mode of /dev/null", [] { return answer(::chmod("/dev/null", 0600)); }, {EROFS, EPERM}},
    Row{"B38", "write into /sys", [] { return create_in("/sys/was-here"); }, {EROFS, EACCES}, Allowed::own_root},
    Row{"B39", "write into the secrets", [] { return create_in("/run/secrets/was-here"); }, {EROFS, EACCES, ENOENT}},
};

}  // namespace

std::span<const Row> mount_attempts() {
  return kRows;
}

}  // namespace millrace::probe
