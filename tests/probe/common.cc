#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/probe/attempts.h"

namespace millrace::probe {

long answer(long result) {
  return result < 0 ? -static_cast<long>(errno) : result;
}

long try_open(const char* path, int flags) {
  const long fd = answer(::open(path, flags | O_CLOEXEC, 0644));
  if (fd >= 0) ::close(static_cast<int>(fd));
  return fd;
}

long try_read(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return answer(fd);
  char byte = 0;
  const long got = answer(::read(fd, &byte, 1));
  ::close(fd);
  return got == 0 ? -ENODATA : got;
}

long try_write(const char* path, const char* text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return answer(fd);
  struct stat status{};
  const bool is_null = ::fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
  const long put = is_null ? -ENODATA : answer(::write(fd, text, std::strlen(text)));
  ::close(fd);
  return put;
}

}  // namespace millrace::probe
