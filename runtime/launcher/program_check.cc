#include "runtime/launcher/program_check.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "core/fd.h"

namespace millrace::launcher {
namespace {

constexpr int kInterpretersMax = 4;  // as the kernel
constexpr std::size_t kFirstLineBytesMax = 256;
constexpr std::size_t kStringBytesMax = 128 * 1024;
constexpr std::size_t kStringsBytesMax = 2 * 1024 * 1024;

bool comes_later(std::string_view path) {
  return std::ranges::any_of(std::to_array<std::string_view>({"/tmp/", "/dev/", "/proc/"}),
                             [path](std::string_view place) { return path.starts_with(place); });
}

int check_one(int root, std::string path) {
  for (int depth = 0; depth <= kInterpretersMax; ++depth) {
    if (comes_later(path)) return 0;
    open_how how{};
    how.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    const Fd file(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how))));
    struct stat status{};
    if (!file || ::fstat(file.get(), &status) < 0) return errno;
    // Everybody may execute it, or nobody here: the run's user owns nothing in the image, and has no capabilities.
    if (!S_ISREG(status.st_mode) || (status.st_mode & 0111) == 0) return EACCES;
    std::array<char, kFirstLineBytesMax> start{};
    const ssize_t size = ::read(file.get(), start.data(), start.size());
    if (size < 0) return errno;
    std::string_view text(start.data(), static_cast<std::size_t>(size));
    if (text.starts_with("\177ELF")) return 0;
    if (!text.starts_with("#!")) return ENOEXEC;
    text = text.substr(2, text.find('\n') - 2);
    const auto first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return ENOEXEC;
    text.remove_prefix(first);
    path = std::string(text.substr(0, text.find_first_of(" \t")));
  }
  return ELOOP;
}

std::size_t bytes_of(const char* const* strings, bool& too_long) {
  std::size_t bytes = 0;
  for (; *strings != nullptr; ++strings) {
    const std::size_t size = std::strlen(*strings) + 1;
    too_long = too_long || size > kStringBytesMax;
    bytes += size + sizeof(char*);
  }
  return bytes;
}

}  // namespace

int check_program(int root, std::span<const char* const> candidates) {
  int worst = ENOENT;
  for (const char* path : candidates) {
    const int error = check_one(root, path);
    if (error == EACCES) worst = error;
    if (error != EACCES && error != ENOENT && error != ENOTDIR) return error;
  }
  return worst;
}

int check_sizes(const char* const* arguments, const char* const* environment) {
  bool too_long = false;
  const std::size_t bytes = bytes_of(arguments, too_long) + bytes_of(environment, too_long);
  return too_long || bytes > kStringsBytesMax ? E2BIG : 0;
}

}  // namespace millrace::launcher
