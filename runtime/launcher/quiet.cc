#include "runtime/launcher/quiet.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

namespace millrace::launcher {

Quietness check_quiet(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) return Quietness::unsupported;
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_ACCMODE) != O_RDONLY) return Quietness::unsupported;
  if (::fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
    ::fcntl(fd, F_SETLEASE, F_UNLCK);
    return Quietness::quiet;
  }
  return errno == EAGAIN || errno == EBUSY ? Quietness::open_for_writing : Quietness::unsupported;
}

}  // namespace millrace::launcher
