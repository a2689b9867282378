#include "storage/fs/listing.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/fs/beneath.h"
#include "storage/fs/entries.h"
#include "storage/fs/workspace.h"

namespace millrace::fs {
namespace {

// Below this depth a step takes in fewer entries, so that a deep tree of full folders stays small in memory, and closes
// its directory before it goes deeper, so that it does not eat up the descriptors.
constexpr std::size_t kShallow = 4;
constexpr std::size_t kDeepBatch = 256;

// A walk over the tree in the order of keys. A folder sorts as its name with the '/' that its keys have, so files and
// folders of one directory are in order together.
class Walk {
 public:
  Walk(int bucket, const std::string& prefix, const std::string& after, std::size_t limit)
      : bucket_(bucket), prefix_(prefix), after_(after), limit_(limit) {}

  Result<Listing> run() {
    const std::string start = split_path(prefix_).folder;
    // No key has such parts, and ".millrace" is not shown: nothing can match.
    if (!start.empty() && !check_key(start)) return Listing{};
    if (prefix_.starts_with('/')) return Listing{};
    const auto entered = enter(start.empty() ? std::string() : start + "/");
    if (!entered) return fail(entered.error());
    while (!levels_.empty() && !listing_.truncated) {
      const auto stepped = step();
      if (!stepped) return fail(stepped.error());
    }
    return std::move(listing_);
  }

 private:
  // One directory on the way: its next entries, and where to go on in it when they are used up.
  struct Level {
    std::string path;                // "" or with a trailing '/'
    std::vector<std::string> batch;  // sorted; folders with a trailing '/'
    std::size_t next = 0;
    bool complete = false;  // the batch reaches the end of the directory
    Fd directory;
  };

  Result<void> enter(std::string path) {
    levels_.push_back({.path = std::move(path), .batch = {}, .next = 0, .complete = false, .directory = {}});
    return fill(levels_.back(), {});
  }

  Result<void> step() {
    Level& level = levels_.back();
    if (level.next == level.batch.size()) {
      if (level.complete) {
        levels_.pop_back();
        return {};
      }
      const std::string last = level.batch.back();
      return fill(level, last);
    }
    const std::string name = level.batch[level.next++];
    if (!name.ends_with('/')) return take(level, name);
    if (levels_.size() > kShallow) level.directory.reset();
    return enter(level.path + name);
  }

  // The smallest entries of the directory that come after `last` and may hold matching keys. A directory that is gone
  // or has become something else holds none.
  Result<void> fill(Level& level, const std::string& last) {
    const std::size_t wanted = limit_ - listing_.objects.size() + 1;
    const std::size_t batch_max = levels_.size() <= kShallow ? wanted : std::min(wanted, kDeepBatch);
    level.batch.clear();
    level.next = 0;
    level.complete = true;
    Entries entries(open_directory(bucket_, folder_of(level)));
    while (const Entry* entry = entries.next()) {
      if (entry->kind == EntryKind::other) continue;
      std::string name = entry->kind == EntryKind::directory ? entry->name + "/" : entry->name;
      if (name <= last || !may_match(level.path, name)) continue;
      // A heap with the largest on top: what does not fit is larger than all that stays.
      if (level.batch.size() == batch_max) {
        level.complete = false;
        if (name >= level.batch.front()) continue;
        std::ranges::pop_heap(level.batch);
        level.batch.back() = std::move(name);
      } else {
        level.batch.push_back(std::move(name));
      }
      std::ranges::push_heap(level.batch);
    }
    if (const int failed = entries.error(); failed != 0 && failed != ENOENT && failed != ENOTDIR && failed != ELOOP) {
      return fail(object_error(failed, "list folder '" + level.path + "'"));
    }
    std::ranges::sort_heap(level.batch);
    return {};
  }

  [[nodiscard]] bool may_match(const std::string& path, const std::string& name) const {
    if (path.empty() && name == std::string(kPrivateFolder) + "/") return false;
    const std::string key = path + name;
    if (key.size() > kKeyBytesMax) return false;
    if (!key.ends_with('/')) return key.starts_with(prefix_) && key > after_;
    const bool in_prefix = key.starts_with(prefix_) || prefix_.starts_with(key);
    return in_prefix && (key > after_ || after_.starts_with(key));
  }

  Result<void> take(Level& level, const std::string& name) {
    if (!level.directory) level.directory = open_directory(bucket_, folder_of(level));
    struct stat status{};
    // Removed since it was read, or a folder by now.
    if (!level.directory || fstatat(level.directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode)) {
      return {};
    }
    if (listing_.objects.size() == limit_) {
      listing_.truncated = true;
    } else {
      listing_.objects.push_back({.key = level.path + name, .version = version_of(status)});
    }
    return {};
  }

  static std::string folder_of(const Level& level) {
    return level.path.empty() ? std::string() : level.path.substr(0, level.path.size() - 1);
  }

  static constexpr std::size_t kKeyBytesMax = 1024;

  int bucket_;
  const std::string& prefix_;
  const std::string& after_;
  std::size_t limit_;
  std::vector<Level> levels_;
  Listing listing_;
};

}  // namespace

Result<Listing> list_objects(int bucket, const std::string& prefix, const std::string& after, std::size_t limit) {
  return Walk(bucket, prefix, after, limit).run();
}

}  // namespace millrace::fs
