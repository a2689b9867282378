#include "runtime/container/rootfs_image.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string_view>

#include "runtime/launched/script.h"

namespace millrace::container {
namespace {

// Where every sandbox has a directory of its own.
constexpr std::array kOwn{"proc", "dev", "sys", "tmp", "etc", "run", "oscar"};

Fd open_in(int root, const std::string& path, std::uint64_t resolve) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | ((resolve & RESOLVE_NO_SYMLINKS) != 0 ? O_NOFOLLOW : 0);
  how.resolve = resolve;
  return Fd(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how))));
}

Result<void> check_place(const Fd& root, const FunctionSpec& function, const std::vector<std::string>& allowed) {
  std::array<char, PATH_MAX> buffer{};
  const std::string link = "/proc/self/fd/" + std::to_string(root.get());
  const ssize_t size = ::readlink(link.c_str(), buffer.data(), buffer.size());
  const std::string_view path(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  const bool found = std::ranges::any_of(allowed, [path](std::string_view place) {
    return path.starts_with(place) && path.size() > place.size() && path[place.size()] == '/';
  });
  if (found) return {};
  std::string list;
  for (const auto& place : allowed) list += (list.empty() ? "" : ", ") + place;
  return fail(Errc::failed_precondition, "image '" + function.image +
                                             "': this server runs images only from the directories that its option "
                                             "image_directories lists (" +
                                             (list.empty() ? "none" : list) + "); add one, or move the image there");
}

Result<void> check_directories(const Fd& root, const FunctionSpec& function) {
  for (const std::string name : kOwn) {
    const Fd found = open_in(root.get(), name, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (!found && errno == ENOENT) continue;
    struct stat status{};
    if (!found || ::fstat(found.get(), &status) != 0) {
      return fail(error_from_errno(errno, "image '" + function.image + "': look at /" + name));
    }
    if (S_ISDIR(status.st_mode)) continue;
    return fail(Errc::invalid_argument, "image '" + function.image + "': /" + name + " is " +
                                            (S_ISLNK(status.st_mode) ? "a symbolic link" : "no directory") +
                                            "; a sandbox has a directory of its own there");
  }
  return {};
}

// Only absence counts: the daemon may lack the right to look where the function's user may.
Result<void> check_interpreter(const Fd& root, const FunctionSpec& function) {
  const auto named = launched::interpreter_of(function.script);
  const std::string interpreter = named.value_or("/bin/sh");
  if (open_in(root.get(), interpreter, RESOLVE_IN_ROOT) || errno != ENOENT) return {};
  const std::string hint = named ? "" : "; write the interpreter in the script's first line, after '#!'";
  return fail(Errc::invalid_argument,
              "image '" + function.image + "' has no " + interpreter + ", which the script needs" + hint);
}

}  // namespace

bool is_rootfs(const FunctionSpec& function) {
  return function.image.starts_with(kRootfsPrefix);
}

Result<Fd> open_rootfs(const FunctionSpec& function) {
  const std::string path = function.image.substr(kRootfsPrefix.size());
  Fd root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (root) return root;
  const std::string what = "image '" + function.image + "': ";
  switch (errno) {
    case ENOENT: return fail(Errc::not_found, what + "there is no such directory");
    case ENOTDIR: return fail(Errc::invalid_argument, what + "is no directory; unpack it first (umoci unpack, tar)");
    case EACCES:
      return fail(Errc::permission_denied, what + "the server's user may not read it; allow it with chmod o+rx");
    default: return fail(error_from_errno(errno, what + "open it"));
  }
}

Result<void> check_rootfs(const FunctionSpec& function, const std::vector<std::string>& allowed) {
  const auto root = open_rootfs(function);
  if (!root) return fail(root.error());
  if (auto placed = check_place(*root, function, allowed); !placed) return placed;
  if (auto directories = check_directories(*root, function); !directories) return directories;
  return check_interpreter(*root, function);
}

}  // namespace millrace::container
