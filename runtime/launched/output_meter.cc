#include "runtime/launched/output_meter.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fd.h"

namespace millrace::launched {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

constexpr std::uint64_t kBlockBytes = 512;  // of st_blocks, whatever the file system's are

// Reserved blocks are beyond the length (fallocate can do that), holes are within it: both are promised to the file.
std::uint64_t counted_bytes(const struct stat& status) {
  return std::max(static_cast<std::uint64_t>(status.st_size),
                  static_cast<std::uint64_t>(status.st_blocks) * kBlockBytes);
}

// Never through a link: the function could point it anywhere.
Directory open_directory(int parent, const char* name) {
  constexpr int kFlags = O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  Fd fd(::openat(parent, name, O_RDONLY | kFlags));
  if (!fd && errno == EACCES) {
    const Fd path(::openat(parent, name, O_PATH | kFlags));
    if (!path || ::chmod(("/proc/self/fd/" + std::to_string(path.get())).c_str(), 0700) != 0) return nullptr;
    fd = Fd(::openat(parent, name, O_RDONLY | kFlags));
  }
  if (!fd) return nullptr;
  Directory directory(::fdopendir(fd.get()));
  if (directory) static_cast<void>(fd.release());
  return directory;
}

}  // namespace

OutputSize measure_outputs(int directory, const LimitsSpec& limits) {
  OutputSize size;
  std::uint64_t entries = 0;
  std::vector<Directory> open;
  open.push_back(open_directory(directory, "."));
  while (!open.empty()) {
    const dirent* entry = open.back() ? ::readdir(open.back().get()) : nullptr;
    if (entry == nullptr) {
      open.pop_back();
      continue;
    }
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat status{};
    if (::fstatat(::dirfd(open.back().get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    ++entries;
    if (S_ISREG(status.st_mode)) {
      ++size.files;
      size.bytes += counted_bytes(status);
    }
    // Directories, links and the like count as files only for the bound of this walk.
    if (over_limit(size, limits)) return size;
    if (entries > limits.output_files + std::uint64_t{kOutputDepthMax}) {
      size.files = entries;
      return size;
    }
    if (!S_ISDIR(status.st_mode)) continue;
    if (open.size() == kOutputDepthMax) {
      size.too_deep = true;
      return size;
    }
    open.push_back(open_directory(::dirfd(open.back().get()), entry->d_name));
  }
  return size;
}

}  // namespace millrace::launched
