#include "runtime/launcher/host_rights.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string_view>

#include "runtime/launcher/host_image.h"
#include "runtime/launcher/root_builder.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

bool write_map(const char* file, unsigned id) {
  const std::string number = std::to_string(id);
  return write_file(AT_FDCWD, file, number + " " + number + " 1\n");
}

// The ids keep their numbers: what the user owns looks the same on both sides. Groups cannot be given up by whoever
// maps a group without root's consent, so those of the user stay.
bool enter_user_namespace() {
  const unsigned uid = ::geteuid();
  const unsigned gid = ::getegid();
  return ::unshare(CLONE_NEWUSER) == 0 && write_file(AT_FDCWD, "/proc/self/setgroups", "deny") &&
         write_map("/proc/self/uid_map", uid) && write_map("/proc/self/gid_map", gid);
}

bool enter_mount_namespace() {
  return ::unshare(CLONE_NEWNS) == 0;
}

bool enter_network_namespace() {
  return ::unshare(CLONE_NEWNET) == 0;
}

// What follows is done by the first process of a pid namespace.
bool enter_pid_namespace() {
  if (::unshare(CLONE_NEWPID) < 0) return false;
  const pid_t child = ::fork();
  if (child <= 0) return child == 0;
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return false;
  ::_exit(WEXITSTATUS(status));
}

// Refused where part of the host's own is covered, as in most containers.
bool mount_proc() {
  return static_cast<bool>(make_mount("proc", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
}

// Refused for a directory below which something is mounted: the kernel uncovers nothing for an ordinary user.
bool mount_overlays() {
  const Fd base = make_mount("tmpfs", {{"mode", "755"}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 || !base ||
      !attach_mount(base.get(), AT_FDCWD, kBuildPoint) || ::chdir(kBuildPoint) < 0 || ::mkdir("none", 0755) < 0) {
    return false;
  }
  for (const std::string_view part : kHostParts) {
    const std::string path = "/" + std::string(part);
    struct stat status{};
    if (::lstat(path.c_str(), &status) < 0 || !S_ISDIR(status.st_mode)) continue;
    const std::string layers = "none:" + path;
    if (!make_mount("overlay", {{"lowerdir", layers.c_str()}}, MOUNT_ATTR_RDONLY)) return false;
  }
  return true;
}

bool clone_device() {
  const Fd null(::open("/dev/null", O_PATH | O_CLOEXEC));
  return null && clone_mount(null.get());
}

struct Trial {
  std::string_view refused;
  bool (*done)();
};
constexpr auto kTrials = std::to_array<Trial>({
    {"user namespaces", enter_user_namespace},
    {"mount namespaces in a user namespace", enter_mount_namespace},
    {"network namespaces in a user namespace", enter_network_namespace},
    {"pid namespaces in a user namespace", enter_pid_namespace},
    {"a /proc of its own (part of the host's is covered)", mount_proc},
    {"overlays of /usr, /etc and /opt (file systems mounted below them are in the way)", mount_overlays},
    {"devices in a mount namespace", clone_device},
});

// The first that a child could not do; kTrials.size() if it did all.
std::size_t refused_trial() {
  const pid_t child = ::fork();
  if (child == 0) {
    for (std::size_t at = 0; at < kTrials.size(); ++at) {
      if (!kTrials.at(at).done()) ::_exit(static_cast<int>(at));
    }
    ::_exit(kTrials.size());
  }
  int status = 0;
  const bool ended = child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status);
  return ended ? static_cast<std::size_t>(WEXITSTATUS(status)) : 0;
}

// The host's word against user namespaces, as far as it can be read.
std::string remedy() {
  struct Switch {
    const char* file;
    char refuses;
    const char* allows;
  };
  static constexpr std::array kSwitches{
      Switch{"/proc/sys/user/max_user_namespaces", '0', "sysctl user.max_user_namespaces=10000"},
      Switch{"/proc/sys/kernel/unprivileged_userns_clone", '0', "sysctl kernel.unprivileged_userns_clone=1"},
      Switch{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1',
             "sysctl kernel.apparmor_restrict_unprivileged_userns=0"}};
  for (const Switch& one : kSwitches) {
    const auto text = read_file(AT_FDCWD, one.file);
    if (text && text->starts_with(one.refuses)) return std::string("; `") + one.allows + "` allows it";
  }
  return {};
}

}  // namespace

HostRights take_host_rights() {
  if (::geteuid() == 0) return {.kind = HostRights::Kind::root};
  const std::size_t refused = refused_trial();
  if (refused < kTrials.size()) {
    return {.kind = HostRights::Kind::none,
            .lack = "the launcher does not run as root, and this host refuses an ordinary user " +
                    std::string(kTrials.at(refused).refused) + remedy()};
  }
  // While this process is dumpable: later its own file of it belongs to root.
  be_killable_for_memory();
  if (enter_user_namespace() && enter_mount_namespace()) return {.kind = HostRights::Kind::own_namespace};
  return {.kind = HostRights::Kind::none, .lack = explain("enter a user namespace", errno)};
}

}  // namespace millrace::launcher
