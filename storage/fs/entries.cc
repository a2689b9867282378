#include "storage/fs/entries.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string_view>

namespace millrace::fs {
namespace {

EntryKind kind_of(int directory, const dirent& entry) {
  switch (entry.d_type) {
    case DT_REG: return EntryKind::file;
    case DT_DIR: return EntryKind::directory;
    case DT_UNKNOWN: break;  // some file systems do not tell
    default: return EntryKind::other;
  }
  struct stat status{};
  if (fstatat(directory, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) return EntryKind::other;
  if (S_ISREG(status.st_mode)) return EntryKind::file;
  return S_ISDIR(status.st_mode) ? EntryKind::directory : EntryKind::other;
}

}  // namespace

Entries::Entries(Fd directory) {
  if (!directory) {
    error_ = errno;
    return;
  }
  stream_.reset(fdopendir(directory.get()));
  if (stream_) {
    (void)directory.release();  // the stream owns it now
  } else {
    error_ = errno;
  }
}

const Entry* Entries::next() {
  while (stream_ && error_ == 0) {
    errno = 0;
    const dirent* entry = readdir(stream_.get());
    if (entry == nullptr) {
      error_ = errno;
      return nullptr;
    }
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    entry_.name = name;
    entry_.kind = kind_of(fd(), *entry);
    return &entry_;
  }
  return nullptr;
}

}  // namespace millrace::fs
