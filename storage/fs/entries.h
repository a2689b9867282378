// Entries: reads a directory, one entry at a time.
//
//   Entries entries(open_directory(bucket, "a"));
//   while (const auto* entry = entries.next()) use(entry->name, entry->kind);
//   if (entries.error() != 0) ...
#pragma once

#include <dirent.h>

#include <memory>
#include <string>

#include "core/fd.h"

namespace millrace::fs {

enum class EntryKind { file, directory, other };

struct Entry {
  std::string name;
  EntryKind kind = EntryKind::other;
};

class Entries {
 public:
  // `directory` may be invalid: error() is errno then.
  explicit Entries(Fd directory);

  // The next entry but "." and "..", valid until the next call; null at the end and after an error.
  [[nodiscard]] const Entry* next();
  [[nodiscard]] int error() const { return error_; }

  // The directory itself; not to be closed.
  [[nodiscard]] int fd() const { return stream_ ? dirfd(stream_.get()) : -1; }

 private:
  struct Close {
    void operator()(DIR* stream) const { closedir(stream); }
  };

  std::unique_ptr<DIR, Close> stream_;
  Entry entry_;
  int error_ = 0;
};

}  // namespace millrace::fs
