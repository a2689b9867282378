#include "storage/fs/sealing.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "formats/sha256.h"
#include "storage/fs/beneath.h"
#include "storage/fs/entries.h"
#include "storage/fs/mark.h"
#include "storage/fs/tree.h"
#include "storage/shown_name.h"

namespace millrace::fs {
namespace {

constexpr std::size_t kBufferBytes = 64 << 10;
constexpr std::size_t kRefusedMax = 100;
constexpr mode_t kSharedMode = 0444;

std::string quoted(const std::string& name) {
  return "'" + shown_name(name) + "'";
}

Error file_error(int error_number, const std::string& name) {
  if (error_number == EOPNOTSUPP) {
    return {.code = Errc::failed_precondition,
            .message = quoted(name) +
                       ": the file system keeps no user.* attributes, by which results are known as ours: put the "
                       "bucket on ext4, xfs, btrfs or a recent tmpfs"};
  }
  return object_error(error_number, quoted(name));
}

std::string_view kind_text(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFLNK: return "is a symbolic link";
    case S_IFCHR:
    case S_IFBLK: return "is a device";
    case S_IFIFO: return "is a fifo";
    case S_IFSOCK: return "is a socket";
    default: return "is no regular file";
  }
}

}  // namespace

std::string copy_prefix(const AttemptToken& token) {
  return "." + token.str() + ".";
}

Sealing::Sealing(SealingPlace place, Workspace& workspace, const SealLimits& limits, const OutputRank& rank)
    : place_(std::move(place)),
      workspace_(workspace),
      limits_(limits),
      rank_(rank),
      buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)) {}

Result<Sealed> Sealing::run() {
  auto done = collect(open_directory(place_.attempt, ""), {}, 1);
  if (!done) return fail(done.error());
  if (not_told_ > 0) sealed_.refused.push_back("and " + std::to_string(not_told_) + " more");
  if (names_.empty()) return std::move(sealed_);

  std::ranges::sort(names_);
  for (const auto& name : names_) {
    done = seal_file(name);
    if (!done) return fail(done.error());
  }
  return std::move(sealed_);
}

Result<void> Sealing::collect(Fd directory, const std::string& prefix, std::size_t depth) {
  Entries entries(std::move(directory));
  while (const Entry* entry = entries.next()) {
    const std::string path = prefix + entry->name;
    if (path.starts_with(place_.copy_prefix)) continue;  // from before a crash
    if (++entries_ > limits_.files_max) {
      return fail(Errc::too_large, "results are more than " + std::to_string(limits_.files_max) +
                                       " files and folders (limits.output_files)");
    }
    if (path.size() > kOutputNameMax) {
      refuse(path, "its name is longer than 1024 bytes");
    } else if (path == kPrivateFolder) {
      refuse(path, "the name is kept for Millrace itself");
    } else {
      const auto taken = entry->kind == EntryKind::directory ? collect_folder(entries.fd(), entry->name, path, depth)
                                                             : collect_file(entries.fd(), entry->name, path);
      if (!taken) return taken;
    }
  }
  if (entries.error() != 0) return fail(error_from_errno(entries.error(), "list the results"));
  return {};
}

Result<void> Sealing::collect_folder(int parent, const std::string& name, const std::string& path, std::size_t depth) {
  if (depth == kOutputDepthMax) {
    refuse(path, "folders are nested deeper than 32");
    return {};
  }
  Fd folder = open_own_directory(parent, name);
  if (!folder) return fail(file_error(errno, path));
  return collect(std::move(folder), path + "/", depth + 1);
}

Result<void> Sealing::collect_file(int parent, const std::string& name, const std::string& path) {
  struct stat status{};
  if (fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return fail(file_error(errno, path));
  if (!S_ISREG(status.st_mode)) {
    refuse(path, kind_text(status.st_mode));
    return {};
  }
  bytes_ += counted_bytes(status);
  if (bytes_ > limits_.bytes_max) {
    return fail(Errc::too_large,
                "results are more than " + std::to_string(limits_.bytes_max) + " bytes (limits.output_bytes)");
  }
  names_.push_back(path);
  return {};
}

void Sealing::refuse(const std::string& path, std::string_view why) {
  if (sealed_.refused.size() < kRefusedMax) {
    sealed_.refused.push_back(quoted(path) + " " + std::string(why));
  } else {
    ++not_told_;
  }
}

Result<void> Sealing::seal_file(const std::string& name) {
  auto file = open_file(name);
  if (!file) return fail(file.error());
  struct stat status{};
  if (fstat(file->get(), &status) != 0) return fail(file_error(errno, name));
  if (!S_ISREG(status.st_mode)) return fail(Errc::aborted, quoted(name) + " changed while it was sealed");

  SealedFile sealed;
  sealed.name = name;
  sealed.private_path = place_.path + "/" + name;
  sealed.version = version_of(status);
  const bool is_large = static_cast<std::uint64_t>(status.st_size) > kCopiedBytesMax;
  Result<void> done;
  if (!is_large || workspace_.reflinks) done = copy_file(file->get(), status, sealed);
  if (done && sealed.source_path.empty()) done = share_file(file->get(), status, sealed);
  if (!done) return done;
  sealed_.files.push_back(std::move(sealed));
  return {};
}

Result<Fd> Sealing::open_file(const std::string& name) const {
  Fd file = open_beneath(place_.attempt, name, O_RDONLY);
  if (!file && errno == EACCES) {
    // The function took its own right to read away; ours to give back, since the file is ours.
    const Fd path = open_beneath(place_.attempt, name, O_PATH);
    if (path && change_mode(path.get(), 0600)) file = open_beneath(place_.attempt, name, O_RDONLY);
  }
  if (!file) return fail(file_error(errno, name));
  return file;
}

// Leaves `sealed` without a source when the file is too large to be copied and its blocks cannot be shared.
Result<void> Sealing::copy_file(int file, const struct stat& status, SealedFile& sealed) {
  const std::string copy_name = place_.copy_prefix + std::to_string(sealed_.files.size());
  const auto make = [&] {
    return Fd(openat(place_.attempt, copy_name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR));
  };
  Fd copy = make();
  if (!copy && errno == EEXIST) {  // half written before a crash, or linked to the file itself
    unlinkat(place_.attempt, copy_name.c_str(), 0);
    copy = make();
  }
  if (!copy) return fail(file_error(errno, sealed.name));
  bool is_cloned = false;
  if (workspace_.reflinks) {
    is_cloned = ioctl(copy.get(), FICLONE, file) == 0;
    if (!is_cloned && (errno == EOPNOTSUPP || errno == ENOTTY || errno == ENOSYS)) workspace_.reflinks = false;
  }
  if (!is_cloned && static_cast<std::uint64_t>(status.st_size) > kCopiedBytesMax) {
    unlinkat(place_.attempt, copy_name.c_str(), 0);
    return {};
  }
  auto sha256 = hash(file, status, is_cloned ? -1 : copy.get(), sealed.name);
  if (!sha256) return fail(sha256.error());

  const mode_t mode = (status.st_mode & 0777) | S_IRUSR;
  if (mode != (status.st_mode & 07777) && fchmod(file, mode) != 0) return fail(file_error(errno, sealed.name));
  if (const int failed = copy_attributes(file, copy.get()); failed != 0) return fail(file_error(failed, sealed.name));
  const auto claimed = claim(copy.get(), mode, sealed.name);
  if (!claimed) return claimed;
  const timespec times[] = {status.st_atim, status.st_mtim};
  if (futimens(copy.get(), times) != 0) return fail(file_error(errno, sealed.name));
  struct stat copied{};
  if (fstat(copy.get(), &copied) != 0) return fail(file_error(errno, sealed.name));
  sealed.source_path = place_.path + "/" + copy_name;
  sealed.placed = version_of(copied);
  sealed.sha256 = std::move(*sha256);
  return {};
}

// One file under both names, which nobody may write to any more. Whoever does it all the same is found out by inode,
// size and modification time.
Result<void> Sealing::share_file(int file, const struct stat& status, SealedFile& sealed) const {
  const mode_t writable = (status.st_mode & 0777) | S_IRUSR | S_IWUSR;  // without it, only root may set an attribute
  if (fchmod(file, writable) != 0) return fail(file_error(errno, sealed.name));
  const auto claimed = claim(file, kSharedMode, sealed.name);
  if (!claimed) return claimed;
  auto sha256 = hash(file, status, -1, sealed.name);
  if (!sha256) return fail(sha256.error());
  sealed.source_path = sealed.private_path;
  sealed.placed = sealed.version;
  sealed.sha256 = std::move(*sha256);
  return {};
}

// Our mark over any of the function's, and the mode that users see. `file` is writable by us.
Result<void> Sealing::claim(int file, mode_t mode, const std::string& name) const {
  if (const int failed = write_mark(file, rank_); failed != 0) return fail(file_error(failed, name));
  if (fchmod(file, mode) != 0) return fail(file_error(errno, name));
  return {};
}

// Of the whole file, which is also written to `copy_to` unless that is -1.
Result<std::string> Sealing::hash(int file, const struct stat& status, int copy_to, const std::string& name) const {
  Sha256 sha256;
  std::uint64_t done = 0;
  for (;;) {
    const ssize_t got = read(file, buffer_.get(), kBufferBytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(file_error(errno, name));
    if (got == 0) break;
    const std::string_view bytes(buffer_.get(), static_cast<std::size_t>(got));
    done += bytes.size();
    sha256.update(bytes);
    if (copy_to < 0) continue;
    if (const int failed = write_all(copy_to, bytes); failed != 0) return fail(file_error(failed, name));
  }
  if (done != static_cast<std::uint64_t>(status.st_size)) {
    return fail(Errc::aborted, quoted(name) + " changed while it was sealed");
  }
  return sha256.finish_hex();
}

}  // namespace millrace::fs
