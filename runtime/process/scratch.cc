#include "runtime/process/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "core/ids.h"

namespace millrace::process {
namespace {

constexpr std::size_t kCopyBytes = 1 << 20;
constexpr std::size_t kOpenLevelsMax = 32;  // of directories, one descriptor each

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

Directory open_directory(int parent, const char* name) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  Fd fd(::openat(parent, name, kFlags));
  if (!fd && errno == EACCES) {
    // O_PATH needs no permission on the directory itself, and names it surely while we change it.
    const Fd place(::openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    const std::string path = "/proc/self/fd/" + std::to_string(place.get());
    if (place && ::chmod(path.c_str(), 0700) == 0) fd = Fd(::openat(parent, name, kFlags));
  }
  if (!fd) return nullptr;
  // Unlinking needs write and search permission on the directory, whatever it is open for.
  if (struct stat status{}; ::fstat(fd.get(), &status) == 0 && (status.st_mode & 0700) != 0700) {
    static_cast<void>(::fchmod(fd.get(), 0700));
  }
  Directory directory(::fdopendir(fd.get()));
  if (directory) static_cast<void>(fd.release());
  return directory;
}

Error here(const std::string& what, const std::string& path) {
  return error_from_errno(errno, what + " '" + path + "'");
}

Result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  return fail(here("make the directory", path));
}

Result<void> write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail(here("write", path));
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

bool is_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

Result<void> copy_file(int from, const std::string& path) {
  const Fd to(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400));
  if (!to) return fail(here("make the input", path));
  off_t offset = 0;
  for (;;) {
    const ssize_t copied = ::sendfile(to.get(), from, &offset, kCopyBytes);
    if (copied == 0) return {};
    if (copied < 0 && errno != EINTR) return fail(here("copy the input to", path));
  }
}

}  // namespace

Result<void> remove_tree(const std::string& path) {
  struct Level {
    Directory directory;
    std::string name;
  };
  std::vector<Level> levels;
  bool lifted = false;
  levels.push_back({open_directory(AT_FDCWD, path.c_str()), path});
  if (!levels.back().directory) {
    if (errno == ENOENT) return {};
    return fail(here("open", path));
  }
  while (!levels.empty()) {
    DIR* const directory = levels.back().directory.get();
    const dirent* entry = ::readdir(directory);
    if (entry == nullptr && levels.size() == 1 && std::exchange(lifted, false)) {
      ::rewinddir(directory);
      continue;
    }
    if (entry == nullptr) {
      const std::string name = levels.back().name;
      levels.pop_back();
      const int parent = levels.empty() ? AT_FDCWD : ::dirfd(levels.back().directory.get());
      if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
        return fail(here("remove the directory", name));
      }
      continue;
    }
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (::unlinkat(::dirfd(directory), entry->d_name, 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR) return fail(here("remove", entry->d_name));
    levels.push_back({open_directory(::dirfd(directory), entry->d_name), entry->d_name});
    if (!levels.back().directory) return fail(here("open", levels.back().name));
    if (levels.size() <= kOpenLevelsMax) continue;
    // A function may nest deeper than we may have descriptors: what lies so deep is moved up, and met there later.
    const std::string above = random_hex(16);
    const int top = ::dirfd(levels.front().directory.get());
    if (::renameat(::dirfd(directory), levels.back().name.c_str(), top, above.c_str()) != 0) {
      return fail(here("move up", levels.back().name));
    }
    levels.pop_back();
    lifted = true;
  }
  return {};
}

Result<void> write_script(const std::string& directory, const std::string& script) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return fail(here("make the directory", directory));
  const std::string path = directory + "/script.sh";
  const std::string temporary = path + "." + random_hex(8);
  {
    const Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0500));
    if (!file) return fail(here("make", temporary));
    if (auto written = write_all(file.get(), script, temporary); !written) {
      ::unlink(temporary.c_str());
      return written;
    }
  }  // closed before it can be run: a program open for writing cannot be executed
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail(here("make", path));
  return {};
}

Result<void> make_scratch(const std::string& directory, const std::vector<ScratchInput>& inputs) {
  const std::string in = directory + "/in";
  for (const std::string& path : {directory, in, directory + "/out"}) {
    if (auto made = make_directory(path); !made) return made;
  }
  for (const ScratchInput& input : inputs) {
    if (!is_file_name(input.name)) {
      return fail(Errc::invalid_argument, "an input is named '" + input.name + "', which is no name of a file");
    }
    const std::string path = in + "/" + input.name;
    if (input.host_path.empty()) {
      if (auto copied = copy_file(input.fd, path); !copied) return copied;
    } else if (::symlink(input.host_path.c_str(), path.c_str()) != 0) {
      return fail(here("link the input", path));
    }
  }
  return {};
}

}  // namespace millrace::process
