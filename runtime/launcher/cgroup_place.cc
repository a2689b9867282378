#include "runtime/launcher/cgroup_place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "core/fd.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr std::size_t kOwnGroupBytesMax = 64 * 1024;
constexpr int kMoveRoundsMax = 100;  // processes may fork while they are moved

bool is_marked(const std::string& directory, const char* attribute) {
  char value = '0';
  return ::getxattr(directory.c_str(), attribute, &value, 1) == 1 && value == '1';
}

// The hierarchy's own root has no type, and that of a namespace has: whoever has a namespace may arrange what is in it.
bool is_given(const CgroupMounts& mounts, const std::string& directory) {
  if (is_marked(directory, "trusted.delegate") || is_marked(directory, "user.delegate")) return true;
  return directory == mounts.v2 && ::access((directory + "/cgroup.type").c_str(), F_OK) == 0;
}

std::string parent_of(const std::string& directory) {
  return directory.substr(0, directory.rfind('/'));
}

Result<void> move_out(const std::string& directory) {
  const std::string below = directory + "/" + std::string(kServiceGroup);
  if (::mkdir(below.c_str(), 0755) < 0 && errno != EEXIST) {
    return fail(error_from_errno(errno, "make the cgroup " + below));
  }
  const Fd from = open_directory(AT_FDCWD, directory.c_str());
  const Fd into = open_directory(AT_FDCWD, below.c_str());
  for (int round = 0; round < kMoveRoundsMax; ++round) {
    const auto left = members_of(from.get());
    if (left.empty()) return {};
    for (const pid_t pid : left) {
      // One that is gone by now need not be moved; any other failure shows in the next round.
      write_file(into.get(), "cgroup.procs", std::to_string(pid));
    }
  }
  return fail(Errc::failed_precondition, "the processes in the cgroup " + directory + " cannot be moved to " + below);
}

}  // namespace

std::string own_group_of(std::string_view text) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    if (line.starts_with("0::/")) return std::string(line.substr(3));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return {};
}

std::string directory_of_group(const CgroupMounts& mounts, std::string_view own) {
  std::string_view root = mounts.v2_root;
  if (root == "/") root = {};
  const bool below = own.starts_with(root) && (own.size() == root.size() || own[root.size()] == '/');
  if (!below || own == "/" || own.size() == root.size()) return mounts.v2;
  return mounts.v2 + std::string(own.substr(root.size()));
}

Result<std::string> take_place(const CgroupMounts& mounts) {
  const auto text = read_file(AT_FDCWD, "/proc/self/cgroup", kOwnGroupBytesMax);
  std::string own = directory_of_group(mounts, own_group_of(text.value_or("")));
  // An earlier launcher of this service moved everything, its successor begins there.
  if (own != mounts.v2 && own.ends_with("/" + std::string(kServiceGroup)) && is_given(mounts, parent_of(own))) {
    own = parent_of(own);
  }
  if (is_given(mounts, own)) {
    if (auto moved = move_out(own); !moved) return fail(moved.error());
    return own;
  }
  if (::geteuid() == 0) return mounts.v2;
  return fail(Errc::permission_denied,
              "the cgroup " + own +
                  " was not given to this user; start the server as root, or as a unit of systemd with Delegate=yes");
}

}  // namespace millrace::launcher
