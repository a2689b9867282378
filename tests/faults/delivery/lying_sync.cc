// Loaded with LD_PRELOAD: what is synced below a folder `log` is said to be on the disk, and is not. A server that runs
// on this has the fault that the power-loss tests exist for, so they must find it.
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <string_view>

namespace {

bool is_of_log(int fd) {
  std::array<char, 32> link{"/proc/self/fd/"};
  std::size_t end = std::string_view(link.data()).size();
  std::array<char, 12> digits{};
  std::size_t count = 0;
  for (int rest = fd; count == 0 || rest > 0; rest /= 10) digits.at(count++) = static_cast<char>('0' + rest % 10);
  while (count > 0) link.at(end++) = digits.at(--count);
  std::array<char, 4096> path{};
  const ssize_t size = ::readlink(link.data(), path.data(), path.size());
  return size > 0 && std::string_view(path.data(), static_cast<std::size_t>(size)).contains("/log/");
}

}  // namespace

extern "C" int fdatasync(int fd) {
  if (is_of_log(fd)) return 0;
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

extern "C" int fsync(int fd) {
  if (is_of_log(fd)) return 0;
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
