#include "runtime/launched/output_meter.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <memory>
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

// Never through a link: the function could point it anywhere.
Directory open_directory(int parent, const char* name) {
  Fd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
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
      size.bytes += static_cast<std::uint64_t>(status.st_size);
    }
    // Directories, links and the like count as files only for the bound of this walk.
    if (over_limit(size, limits)) return size;
    if (entries > limits.output_files + std::uint64_t{kOutputDepthMax}) {
      size.files = entries;
      return size;
    }
    if (S_ISDIR(status.st_mode) && open.size() < kOutputDepthMax) {
      open.push_back(open_directory(::dirfd(open.back().get()), entry->d_name));
    }
  }
  return size;
}

}  // namespace millrace::launched
