#include "producers/watch_source.h"

#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

namespace millrace {
namespace {

// IN_CREATE is there for links (a new name whose content was complete before) and for folders. IN_EXCL_UNLINK: what was
// unlinked has no name to report.
constexpr std::uint32_t kMask = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_MOVE_SELF |
                                IN_EXCL_UNLINK | IN_ONLYDIR | IN_DONT_FOLLOW;

constexpr std::size_t kReadBytes = 64 << 10;

std::optional<WatchNoteKind> kind_of(std::uint32_t mask) {
  if ((mask & IN_Q_OVERFLOW) != 0) return WatchNoteKind::overflow;
  if ((mask & IN_IGNORED) != 0) return WatchNoteKind::watch_ended;
  if ((mask & IN_MOVE_SELF) != 0) return WatchNoteKind::watch_moved;
  const bool appeared = (mask & (IN_CREATE | IN_MOVED_TO)) != 0;
  if ((mask & IN_ISDIR) != 0) {
    if (appeared) return WatchNoteKind::folder_appeared;
    if ((mask & IN_MOVED_FROM) != 0) return WatchNoteKind::folder_left;
    return std::nullopt;
  }
  if (appeared || (mask & IN_CLOSE_WRITE) != 0) return WatchNoteKind::file;
  return std::nullopt;
}

}  // namespace

Result<Inotify> Inotify::open() {
  Fd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd) {
    return fail(
        error_from_errno(errno, "open inotify (fs.inotify.max_user_instances limits how many a user may have)"));
  }
  return Inotify(std::move(fd));
}

Result<int> Inotify::add(int directory) {
  // By descriptor, so that nobody can put a link in the way. The "/." is what IN_DONT_FOLLOW then looks at: without it,
  // the link below /proc itself would be refused.
  const std::string path = "/proc/self/fd/" + std::to_string(directory) + "/.";
  const int watch = ::inotify_add_watch(fd_.get(), path.c_str(), kMask);
  if (watch < 0) return fail(error_from_errno(errno, "watch"));
  return watch;
}

void Inotify::remove(int watch) {
  ::inotify_rm_watch(fd_.get(), watch);
}

Result<WatchBatch> Inotify::read() {
  alignas(inotify_event) std::array<char, kReadBytes> buffer{};
  ssize_t count = 0;
  do {
    count = ::read(fd_.get(), buffer.data(), buffer.size());
  } while (count < 0 && errno == EINTR);
  WatchBatch batch;
  if (count < 0 && errno == EAGAIN) return batch;
  if (count < 0) return fail(error_from_errno(errno, "read inotify"));

  batch.bytes = static_cast<std::size_t>(count);
  for (std::size_t at = 0; at < batch.bytes;) {
    inotify_event event{};
    std::memcpy(&event, buffer.data() + at, sizeof event);
    const char* name = buffer.data() + at + sizeof event;
    if (const auto kind = kind_of(event.mask)) {
      batch.notes.push_back({.watch = event.wd, .kind = *kind, .name = std::string(name, ::strnlen(name, event.len))});
    }
    at += sizeof event + event.len;
  }
  return batch;
}

Result<std::size_t> Inotify::queued_bytes() {
  int bytes = 0;
  if (::ioctl(fd_.get(), FIONREAD, &bytes) != 0) return fail(error_from_errno(errno, "ask inotify for its queue"));
  return static_cast<std::size_t>(bytes);
}

std::size_t kernel_watches_max() {
  std::ifstream file("/proc/sys/fs/inotify/max_user_watches");
  std::size_t limit = 0;
  file >> limit;
  return file ? limit : 0;
}

}  // namespace millrace
