#include "storage/fs/placing.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

#include "storage/fs/beneath.h"
#include "storage/fs/mark.h"

namespace millrace::fs {
namespace {

// How often a name may appear and vanish, or its folder go, under our feet before we let others go first.
constexpr int kRacesMax = 100;

constexpr const char* kTurnLock = "placing.lock";  // shorter than the names of instances
constexpr int kTurnTries = 200;
constexpr std::chrono::milliseconds kTurnPause{10};

// A name in `tmp/` and its companion; removed at the end unless what hangs there must be kept for a sweep.
class TemporaryName {
 public:
  TemporaryName(int tmp, std::string name) : tmp_(tmp), name_(std::move(name)) {}
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;
  ~TemporaryName() {
    if (!used_) return;
    unlinkat(tmp_, name_.c_str(), 0);
    if (has_companion_) unlinkat(tmp_, companion().c_str(), 0);
  }

  [[nodiscard]] const std::string& name() const { return name_; }
  void set_used() { used_ = true; }
  void keep() { used_ = false; }

  [[nodiscard]] int make_companion(const std::string& key) {
    if (has_companion_) return 0;
    if (symlinkat(key.c_str(), tmp_, companion().c_str()) != 0) return errno;
    has_companion_ = true;
    return 0;
  }

 private:
  [[nodiscard]] std::string companion() const { return name_ + ".to"; }

  int tmp_;
  std::string name_;
  bool used_ = false;
  bool has_companion_ = false;
};

// What has the name now.
struct Standing {
  bool exists = false;
  bool is_this_file = false;
  std::optional<OutputRank> rank;
};

Error name_error(int error_number, const std::string& key) {
  return object_error(error_number, "place '" + key + "'");
}

// A directory is an error: no file can take its place.
Result<Standing> look(int folder, const std::string& name, const std::string& key, const PlacingSource& source = {}) {
  struct stat status{};
  if (fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return Standing{};
    return fail(name_error(errno, key));
  }
  if (S_ISDIR(status.st_mode)) return fail(name_error(EISDIR, key));
  auto mark = read_mark(folder, name);
  if (!mark) {
    if (mark.error().code == Errc::not_found) return Standing{};
    return fail(mark.error());
  }
  return Standing{.exists = true,
                  .is_this_file = status.st_dev == source.device && status.st_ino == source.inode,
                  .rank = std::move(*mark)};
}

enum class Exchange { done, later_stands, name_vanished };

// Exchanges `temporary` and the name until what came out is not later than what went in. Ends, since each round but the
// last takes in a file of a greater rank than the one before. An error leaves `temporary` holding what must not be
// lost.
Result<Exchange> exchange_until_latest(int tmp, const std::string& temporary, int folder, const std::string& name,
                                       const std::string& key, OutputRank rank) {
  const auto put_back = [&](Error error) -> Result<Exchange> {
    (void)rename_entry(tmp, temporary, folder, name, RENAME_EXCHANGE);
    return fail(std::move(error));
  };
  auto result = Exchange::done;
  for (;;) {
    const int failed = rename_entry(tmp, temporary, folder, name, RENAME_EXCHANGE);
    // The user removed the name, which held our file or a later one: it stays removed.
    if (failed == ENOENT && result == Exchange::later_stands) return result;
    if (failed == ENOENT) return Exchange::name_vanished;
    if (failed != 0) return fail(name_error(failed, key));

    const auto came_out = look(tmp, temporary, key);
    if (!came_out) return put_back(came_out.error());
    if (!came_out->rank || *came_out->rank <= rank) return result;
    rank = *came_out->rank;
    result = Exchange::later_stands;
  }
}

struct Target {
  int bucket;
  const std::string& key;
  PathParts parts;
  Folder folder;
};

// Where names cannot be exchanged, one placer at a time looks and renames, also of those on other machines. The lock is
// not waited for for ever: a placer that pauses holds nobody up, and may put an older file back when it goes on.
Fd take_turn(int tmp) {
  Fd lock(openat(tmp, kTurnLock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  for (int i = 0; lock && i < kTurnTries; ++i) {
    if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno != EWOULDBLOCK) break;
    std::this_thread::sleep_for(kTurnPause);
  }
  return {};
}

// Placing where names cannot be exchanged: between the look and the rename a placer that has not awaited its turn may
// come in.
Result<std::optional<Placed>> try_weak(const TemporaryName& temporary, int tmp, const Target& target,
                                       const Standing& standing) {
  if (!standing.exists) {
    const int linked =
        linkat(tmp, temporary.name().c_str(), target.folder.fd.get(), target.parts.name.c_str(), 0) == 0 ? 0 : errno;
    if (linked == 0) return Placed::appeared;
    if (linked == EEXIST || linked == ENOENT) return std::nullopt;
    return fail(name_error(linked, target.key));
  }
  const int failed = rename_entry(tmp, temporary.name(), target.folder.fd.get(), target.parts.name, 0);
  if (failed == 0) return Placed::replaced;
  if (failed == ENOENT) return std::nullopt;
  return fail(name_error(failed, target.key));
}

Result<std::optional<Placed>> try_strong(TemporaryName& temporary, int tmp, const Target& target,
                                         const Standing& standing, const OutputRank& rank) {
  if (!standing.exists) {
    const int failed = rename_entry(tmp, temporary.name(), target.folder.fd.get(), target.parts.name, RENAME_NOREPLACE);
    if (failed == 0) {
      temporary.keep();  // it is gone
      return Placed::appeared;
    }
    if (failed == EEXIST || failed == ENOENT) return std::nullopt;
    return fail(name_error(failed, target.key));
  }
  if (const int failed = temporary.make_companion(target.key); failed != 0) {
    return fail(name_error(failed, target.key));
  }
  const auto exchanged =
      exchange_until_latest(tmp, temporary.name(), target.folder.fd.get(), target.parts.name, target.key, rank);
  if (!exchanged) {
    temporary.keep();
    return fail(exchanged.error());
  }
  switch (*exchanged) {
    case Exchange::done: return Placed::replaced;
    case Exchange::later_stands: return Placed::superseded;
    case Exchange::name_vanished: break;
  }
  return std::nullopt;
}

// Copies are removed only when all that was to be made of them is durable. Their originals stay for as long as the
// attempt does.
bool was_placed(const PlacingSource& source) {
  return source.folder >= 0 && !source.original.empty() && open_beneath(source.folder, source.original, O_PATH);
}

// Gives the source its temporary name, unless an earlier try has. False: it was placed before.
Result<bool> link_source(int tmp, TemporaryName& temporary, const PlacingSource& source, const std::string& key) {
  const std::string what = "place '" + key + "': the result '" + source.name + "'";
  if (linkat(source.folder, source.name.c_str(), tmp, temporary.name().c_str(), 0) == 0) {
    temporary.set_used();
  } else if (errno == ENOENT || errno == EBADF) {
    if (was_placed(source)) return false;
    return fail(Errc::data_loss, what + " is gone");
  } else if (errno == EXDEV) {
    return fail(Errc::failed_precondition,
                what + " lies on another file system: the output buckets of one function must share one");
  } else if (errno != EEXIST) {
    return fail(name_error(errno, key));
  }
  struct stat status{};
  if (fstatat(tmp, temporary.name().c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return fail(name_error(errno, key));
  if (!S_ISREG(status.st_mode) || status.st_ino != source.inode) {
    return fail(Errc::data_loss, what + " is not the file that was sealed");
  }
  return true;
}

// The name is this very file: placed before, perhaps by somebody who died over it while a later file was out.
Result<std::optional<Placed>> settled_standing(Workspace& workspace, const Target& target, const PlacingSource& source,
                                               const OutputRank& rank) {
  if (workspace.exchanges) {
    const auto swept = workspace.sweep(target.bucket);
    if (!swept) return fail(swept.error());
  }
  const auto standing = look(target.folder.fd.get(), target.parts.name, target.key, source);
  if (!standing) return fail(standing.error());
  if (standing->is_this_file) return Placed::appeared;
  if (standing->rank && *standing->rank > rank) return Placed::superseded;
  return std::nullopt;
}

// One try: what became of it, or nothing when the name changed meanwhile.
Result<std::optional<Placed>> try_once(Workspace& workspace, TemporaryName& temporary, Target& target,
                                       const PlacingSource& source, const OutputRank& rank) {
  auto folder = make_folders(target.bucket, target.parts.folder);
  if (!folder) return fail(folder.error().with("place '" + target.key + "'"));
  target.folder = std::move(*folder);

  const auto standing = look(target.folder.fd.get(), target.parts.name, target.key, source);
  if (!standing) return fail(standing.error());
  if (standing->is_this_file) return settled_standing(workspace, target, source, rank);
  if (standing->rank && *standing->rank > rank) return Placed::superseded;

  const auto linked = link_source(workspace.tmp(), temporary, source, target.key);
  if (!linked) return fail(linked.error());
  if (!*linked) return Placed::superseded;
  if (workspace.exchanges) {
    auto placed = try_strong(temporary, workspace.tmp(), target, *standing, rank);
    if (placed || placed.error().code != Errc::invalid_argument) return placed;
    // EINVAL: a file system without these flags. The temporary name still holds our file; the next try has its turn.
    workspace.exchanges = false;
    temporary.set_used();
    return std::nullopt;
  }
  return try_weak(temporary, workspace.tmp(), target, *standing);
}

}  // namespace

Result<Placed> place_file(Workspace& workspace, int bucket, const PlacingSource& source, const std::string& key,
                          const OutputRank& rank) {
  Target target{.bucket = bucket, .key = key, .parts = split_path(key), .folder = {}};
  TemporaryName temporary(workspace.tmp(), workspace.temporary_name());
  for (int i = 0; i < kRacesMax; ++i) {
    const Fd turn = workspace.exchanges ? Fd() : take_turn(workspace.tmp());
    const auto placed = try_once(workspace, temporary, target, source, rank);
    if (!placed) return fail(placed.error());
    if (*placed) return **placed;
  }
  return fail(Errc::aborted, "place '" + key + "': the name or its folder kept changing");
}

Result<void> settle_placing(int tmp, const std::string& temporary, int bucket, const std::string& key) {
  const auto taken = read_mark(tmp, temporary);
  if (!taken && taken.error().code == Errc::not_found) return {};
  if (!taken) return fail(taken.error());
  if (!*taken) return {};  // a file of nobody's made room, as it should

  const PathParts parts = split_path(key);
  const Folder folder{.fd = open_directory(bucket, parts.folder), .is_new = false};
  if (!folder.fd) return {};  // the user has removed or replaced the folder since
  const auto standing = look(folder.fd.get(), parts.name, key);
  // No rank: the user has put something of his own there since.
  if (!standing || !standing->rank || *standing->rank >= **taken) return {};
  const auto exchanged = exchange_until_latest(tmp, temporary, folder.fd.get(), parts.name, key, **taken);
  if (!exchanged) return fail(exchanged.error());
  return sync_folder(folder, parts.folder);
}

Result<bool> is_weak_placing(Workspace& workspace) {
  std::string names[2];
  int failed = 0;
  for (auto& name : names) {
    name = workspace.temporary_name();
    const Fd file(openat(workspace.tmp(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file && failed == 0) failed = errno;
  }
  const int exchanged =
      failed == 0 ? rename_entry(workspace.tmp(), names[0], workspace.tmp(), names[1], RENAME_EXCHANGE) : 0;
  for (const auto& name : names) unlinkat(workspace.tmp(), name.c_str(), 0);
  if (failed != 0) return fail(error_from_errno(failed, "try what the file system can do"));
  if (exchanged != 0 && exchanged != EINVAL && exchanged != ENOSYS && exchanged != EOPNOTSUPP) {
    return fail(error_from_errno(exchanged, "try what the file system can do"));
  }
  workspace.exchanges = exchanged == 0;
  return exchanged != 0;
}

}  // namespace millrace::fs
