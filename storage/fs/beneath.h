// System calls below a directory that is held open: nothing here follows a symbolic link or leaves that directory,
// whatever users and functions put there.
//
// Threads: any; everything may block.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/event.h"
#include "core/fd.h"

namespace millrace::fs {

inline constexpr mode_t kPrivateMode = 0700;

// openat2() with RESOLVE_BENEATH, NO_SYMLINKS and NO_MAGICLINKS; O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added, since a
// fifo would block the open and a terminal would become ours. An invalid Fd leaves the reason in errno.
[[nodiscard]] Fd open_beneath(int directory, const std::string& path, int flags, mode_t mode = 0);

// The directory `path` below `directory` ("" or "." is the directory itself), for reading its entries.
[[nodiscard]] Fd open_directory(int directory, const std::string& path);

// What went wrong with an object that users name: a link on the way, a file as a folder and a directory of that name
// are `failed_precondition`, the rest as errno says. `what` names operation and object.
[[nodiscard]] Error object_error(int error_number, std::string_view what);

// The folder of `path` and the name in it: "a/b" and "c" of "a/b/c", "" and "c" of "c".
struct PathParts {
  std::string folder;
  std::string name;
};
[[nodiscard]] PathParts split_path(std::string_view path);

// A folder that was opened, or made with those on the way to it (mode 0755 less the umask).
struct Folder {
  Fd fd;
  bool is_new = false;
};
[[nodiscard]] Result<Folder> make_folders(int directory, const std::string& folder);

// Makes the entries of `folder` durable, and those that lead to it if it is new. What another process has just made on
// the way needs no care: file systems with a journal keep the order, and the rest sync as they go.
[[nodiscard]] Result<void> sync_folder(const Folder& folder, const std::string& name);

[[nodiscard]] ObjectVersion version_of(const struct stat& status);

// fchmod() by way of /proc, which works on an O_PATH descriptor and so on what we may not open yet. False: see errno.
[[nodiscard]] bool change_mode(int fd, mode_t mode);

// rename with flags (RENAME_NOREPLACE, RENAME_EXCHANGE), 0 or errno.
[[nodiscard]] int rename_entry(int from_directory, const std::string& from, int to_directory, const std::string& to,
                               unsigned flags);

// A write, whole: 0 or errno.
[[nodiscard]] int write_all(int fd, std::string_view bytes);

}  // namespace millrace::fs
