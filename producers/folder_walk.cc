#include "producers/folder_walk.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace millrace {
namespace {

constexpr std::size_t kEntriesPerStep = 1'000;

Fd open_beneath(int bucket, const std::string& folder) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(::syscall(SYS_openat2, bucket, folder.c_str(), &how, sizeof how)));
}

bool is_gone(int error_number) {
  return error_number == ENOENT || error_number == ENOTDIR || error_number == ELOOP || error_number == ENAMETOOLONG;
}

unsigned char type_of(int directory, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type;
  struct stat status{};
  if (::fstatat(directory, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) return DT_UNKNOWN;
  if (S_ISDIR(status.st_mode)) return DT_DIR;
  return S_ISREG(status.st_mode) ? DT_REG : DT_UNKNOWN;
}

}  // namespace

bool concerns(const std::vector<std::string>& wanted, std::string_view folder) {
  return std::ranges::any_of(
      wanted, [&](const std::string& one) { return one.starts_with(folder) || folder.starts_with(one); });
}

FolderWalk::FolderWalk(std::shared_ptr<WatchSource> source, std::string root, std::vector<std::string> wanted,
                       std::deque<std::string> start)
    : source_(std::move(source)), root_(std::move(root)), wanted_(std::move(wanted)), folders_(std::move(start)) {}

Result<Fd> FolderWalk::open(const std::string& folder) {
  if (!bucket_) bucket_ = Fd(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!bucket_) return fail(error_from_errno(errno, "open bucket " + root_));
  Fd opened = open_beneath(bucket_.get(), folder.empty() ? "." : folder);
  if (!opened && is_gone(errno)) return Fd();
  if (!opened) return fail(error_from_errno(errno, "open folder " + root_ + "/" + folder));
  return opened;
}

void FolderWalk::enter(std::string folder, WalkStep& step) {
  auto opened = open(folder);
  if (!opened) {
    step.refused.emplace_back(std::move(folder), opened.error());
    return;
  }
  if (!*opened) return;
  const auto watch = source_->add(opened->get());
  if (!watch) {
    const bool full = watch.error().code == Errc::no_space;
    Error error = watch.error().with("folder " + root_ + "/" + folder);
    if (full) {
      error.code = Errc::resource_exhausted;
      error.message += "; the kernel allows " + std::to_string(kernel_watches_max()) +
                       " watches: raise the sysctl fs.inotify.max_user_watches or narrow the functions' input paths";
      folders_.clear();  // the next ones would only say the same
    }
    step.refused.emplace_back(std::move(folder), std::move(error));
    return;
  }
  step.watched.emplace_back(*watch, folder);
  reading_.reset(::fdopendir(opened->get()));
  if (reading_) [[maybe_unused]]
    const int owned = opened->release();
  folder_ = std::move(folder);
}

void FolderWalk::look_at(const dirent& entry, WalkStep& step) {
  const std::string_view name = entry.d_name;
  if (name == "." || name == ".." || (folder_.empty() && name == ".millrace")) return;
  const auto type = type_of(::dirfd(reading_.get()), entry);
  if (type == DT_REG) step.files.push_back(folder_ + entry.d_name);
  if (type != DT_DIR) return;
  std::string below = folder_ + entry.d_name + "/";
  if (concerns(wanted_, below)) folders_.push_back(std::move(below));
}

WalkStep FolderWalk::step() {
  WalkStep step;
  for (std::size_t entries = 0; entries < kEntriesPerStep; ++entries) {
    if (!reading_) {
      if (folders_.empty()) {
        step.done = true;
        return step;
      }
      std::string folder = std::move(folders_.front());
      folders_.pop_front();
      enter(std::move(folder), step);
      continue;
    }
    const dirent* entry = ::readdir(reading_.get());
    if (entry == nullptr) {
      reading_.reset();
    } else {
      look_at(*entry, step);
    }
  }
  return step;
}

}  // namespace millrace
