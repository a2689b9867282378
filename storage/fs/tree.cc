#include "storage/fs/tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/ids.h"
#include "storage/fs/beneath.h"
#include "storage/fs/entries.h"
#include "storage/shown_name.h"

namespace millrace::fs {
namespace {

// One descriptor for each level.
constexpr std::size_t kMeasureDepthMax = 64;
constexpr std::size_t kRemoveDepthMax = 32;
constexpr mode_t kOwnerAll = 0700;
constexpr const char* kFuseHidden = ".fuse_hidden";
constexpr std::uint64_t kBlockBytes = 512;  // of st_blocks, whatever the file system's are

bool over(const AttemptUsage& usage, const SealLimits& limits) {
  return usage.bytes > limits.bytes_max || usage.files > limits.files_max;
}

// Entries that vanish while we look are a function at work.
Result<void> measure(Fd directory, std::size_t depth, const SealLimits& limits, AttemptUsage& usage) {
  Entries entries(std::move(directory));
  while (const Entry* entry = entries.next()) {
    ++usage.files;
    if (entry->kind == EntryKind::directory) {
      if (depth == kMeasureDepthMax) {
        return fail(Errc::too_large, "folders in TMP_OUTPUT_DIR nested deeper than 64");
      }
      Fd child = open_own_directory(entries.fd(), entry->name);
      if (!child && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) continue;
      if (!child) return fail(object_error(errno, "measure folder '" + shown_name(entry->name) + "'"));
      const auto measured = measure(std::move(child), depth + 1, limits, usage);
      if (!measured) return measured;
    } else {
      struct stat status{};
      if (fstatat(entries.fd(), entry->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (S_ISREG(status.st_mode)) usage.bytes += counted_bytes(status);
    }
    if (over(usage, limits)) return {};
  }
  if (entries.error() != 0) return fail(error_from_errno(entries.error(), "measure the results"));
  return {};
}

class Remover {
 public:
  Remover(int parent, std::size_t entries_max) : parent_(parent), budget_(entries_max) {}

  Result<bool> run(const std::string& name) {
    Fd directory = open_own_directory(parent_, name);
    if (!directory && errno == ENOENT) return true;
    if (!directory) return fail(object_error(errno, "remove '" + shown_name(name) + "'"));
    top_ = directory.get();
    const auto emptied = remove_children(std::move(directory), 1);
    if (!emptied || !*emptied) return emptied;
    return remove_directory(parent_, name);
  }

 private:
  // False: the budget is spent, or entries came in meanwhile; to be called again.
  Result<bool> remove_children(Fd directory, std::size_t depth) {
    Entries entries(std::move(directory));
    while (const Entry* entry = entries.next()) {
      if (budget_ == 0) return false;
      --budget_;
      const auto removed = entry->kind == EntryKind::directory ? remove_child_tree(entries.fd(), entry->name, depth)
                                                               : remove_entry(entries.fd(), entry->name);
      if (!removed || !*removed) return removed;
    }
    if (entries.error() != 0) return fail(error_from_errno(entries.error(), "remove results"));
    return true;
  }

  Result<bool> remove_child_tree(int parent, const std::string& name, std::size_t depth) {
    if (depth == kRemoveDepthMax) return lift(parent, name);
    Fd child = open_own_directory(parent, name);
    if (!child && errno == ENOENT) return true;
    if (!child) return fail(object_error(errno, "remove folder '" + shown_name(name) + "'"));
    const auto emptied = remove_children(std::move(child), depth + 1);
    if (!emptied || !*emptied) return emptied;
    return remove_directory(parent, name);
  }

  // What is too deep goes on at the top: the depth of a function's tree has no limit, our descriptors have.
  Result<bool> lift(int parent, const std::string& name) {
    const int failed = rename_entry(parent, name, top_, "deep-" + random_hex(8), 0);
    if (failed != 0 && failed != ENOENT) return fail(error_from_errno(failed, "remove a deep folder"));
    return true;
  }

  static Result<bool> remove_entry(int parent, const std::string& name) {
    if (unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return true;
    return fail(error_from_errno(errno, "remove '" + shown_name(name) + "'"));
  }

  // FUSE keeps a file that is removed while it is open under a name of its own, and again each time that is removed.
  static bool holds_only_open_files(int parent, const std::string& name) {
    Entries entries(open_own_directory(parent, name));
    bool any = false;
    while (const Entry* entry = entries.next()) {
      if (!entry->name.starts_with(kFuseHidden)) return false;
      any = true;
    }
    return any && entries.error() == 0;
  }

  static Result<bool> remove_directory(int parent, const std::string& name) {
    if (unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return true;
    if (errno == ENOTEMPTY || errno == EEXIST) {
      if (!holds_only_open_files(parent, name)) return false;  // lifted folders, or entries the reading missed
      return fail(Errc::unavailable, "remove folder '" + shown_name(name) + "': a file that lay in it is still open");
    }
    return fail(error_from_errno(errno, "remove folder '" + shown_name(name) + "'"));
  }

  int parent_;
  int top_ = -1;
  std::size_t budget_;
};

}  // namespace

Fd open_own_directory(int parent, const std::string& name) {
  Fd directory = open_directory(parent, name);
  if (!directory && errno == EACCES) {
    const Fd path = open_beneath(parent, name, O_PATH | O_DIRECTORY);
    if (!path || !change_mode(path.get(), kOwnerAll)) return {};
    directory = open_directory(parent, name);
  }
  struct stat status{};
  if (directory && fstat(directory.get(), &status) == 0 && (status.st_mode & kOwnerAll) != kOwnerAll) {
    (void)fchmod(directory.get(), (status.st_mode & 0777) | kOwnerAll);  // what fails for it says so itself
  }
  return directory;
}

Result<AttemptUsage> measure_tree(Fd directory, const SealLimits& limits) {
  AttemptUsage usage;
  const auto measured = measure(std::move(directory), 1, limits, usage);
  if (!measured) return fail(measured.error());
  return usage;
}

std::uint64_t counted_bytes(const struct stat& status) {
  return std::max(static_cast<std::uint64_t>(status.st_size),
                  static_cast<std::uint64_t>(status.st_blocks) * kBlockBytes);
}

Result<bool> remove_tree(int parent, const std::string& name, std::size_t entries_max) {
  return Remover(parent, entries_max).run(name);
}

}  // namespace millrace::fs
