#include "broker/log/log_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "core/fd.h"

namespace millrace {
namespace {

constexpr const char* kLockName = kLogLockFile.data();

class PosixFile final : public LogFile {
 public:
  PosixFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<void> write(std::string_view bytes, std::uint64_t offset) override {
    while (!bytes.empty()) {
      const auto done = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return fail(error_from_errno(errno, "write " + path_));
      bytes.remove_prefix(static_cast<std::size_t>(done));
      offset += static_cast<std::uint64_t>(done);
    }
    return {};
  }

  Result<std::size_t> read_into(std::uint64_t offset, std::span<char> into) override {
    std::size_t filled = 0;
    while (filled < into.size()) {
      const auto done =
          ::pread(fd_.get(), into.data() + filled, into.size() - filled, static_cast<off_t>(offset + filled));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return fail(error_from_errno(errno, "read " + path_));
      if (done == 0) break;
      filled += static_cast<std::size_t>(done);
    }
    return filled;
  }

  Result<void> sync() override {
    if (::fdatasync(fd_.get()) != 0) return fail(error_from_errno(errno, "sync " + path_));
    return {};
  }

  Result<void> allocate(std::uint64_t size) override {
    // The answer to "is there room" comes at once from fallocate; then the blocks are written, since the first sync of
    // a block that was only reserved costs a journal commit (50-60 us instead of 34).
    if (const int error = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(size)); error != 0) {
      return fail(error_from_errno(error, "allocate " + std::to_string(size) + " bytes for " + path_));
    }
    const std::string zeros(1 << 20, '\0');
    for (std::uint64_t at = 0; at < size; at += zeros.size()) {
      const auto part =
          std::string_view(zeros).substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(zeros.size(), size - at)));
      if (auto written = write(part, at); !written) return written;
    }
    if (::fsync(fd_.get()) != 0) return fail(error_from_errno(errno, "sync " + path_));
    return {};
  }

  Result<std::uint64_t> size() override {
    struct stat status{};
    if (::fstat(fd_.get(), &status) != 0) return fail(error_from_errno(errno, "look at " + path_));
    return static_cast<std::uint64_t>(status.st_size);
  }

 private:
  Fd fd_;
  std::string path_;
};

class PosixFiles : public LogFiles {
 public:
  PosixFiles(Fd directory, std::string path) : directory_(std::move(directory)), path_(std::move(path)) {}

  Result<void> lock() override {
    Fd fd(::openat(directory_.get(), kLockName, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd) return fail(error_from_errno(errno, "open " + path_of(kLockName)));
    if (auto taken = take(fd, LOCK_EX); !taken) return taken;
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
      // Only the message that another process would get is poorer for it.
    }
    lock_ = std::move(fd);
    return {};
  }

  Result<std::vector<std::string>> list() override {
    std::vector<std::string> names;
    std::error_code error;
    for (std::filesystem::directory_iterator each(path_, error), end; !error && each != end; each.increment(error)) {
      names.push_back(each->path().filename().string());
    }
    if (error) return fail(error_from_errno(error.value(), "list " + path_));
    return names;
  }

  Result<std::shared_ptr<LogFile>> create(const std::string& name) override {
    return open_with(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC);
  }
  Result<std::shared_ptr<LogFile>> open(const std::string& name) override {
    return open_with(name, O_RDWR | O_CLOEXEC);
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    if (::renameat(directory_.get(), from.c_str(), directory_.get(), to.c_str()) != 0) {
      return fail(error_from_errno(errno, "rename " + path_of(from) + " to " + to));
    }
    return {};
  }
  Result<void> remove(const std::string& name) override {
    if (::unlinkat(directory_.get(), name.c_str(), 0) != 0) {
      return fail(error_from_errno(errno, "remove " + path_of(name)));
    }
    return {};
  }
  Result<void> sync() override {
    if (::fsync(directory_.get()) != 0) return fail(error_from_errno(errno, "sync " + path_));
    return {};
  }
  std::string path_of(std::string_view name) const override { return path_ + "/" + std::string(name); }

 protected:
  // `failed_precondition` naming the owner.
  [[nodiscard]] Result<void> take(const Fd& fd, int kind) const {
    if (::flock(fd.get(), kind | LOCK_NB) == 0) return {};
    if (errno != EWOULDBLOCK) return fail(error_from_errno(errno, "lock " + path_of(kLockName)));
    std::array<char, 32> owner{};
    const auto read = ::pread(fd.get(), owner.data(), owner.size() - 1, 0);
    const std::string_view pid(owner.data(), static_cast<std::size_t>(std::max<ssize_t>(read, 0)));
    const bool known = !pid.empty() && pid.find_first_not_of("0123456789\n") == std::string_view::npos;
    return fail(Errc::failed_precondition,
                "the log in " + path_ + " is in use by " +
                    (known ? "process " + std::string(pid.substr(0, pid.find('\n'))) : std::string("another process")) +
                    "; a log serves one process at a time");
  }

  [[nodiscard]] int directory() const { return directory_.get(); }

 private:
  Result<std::shared_ptr<LogFile>> open_with(const std::string& name, int flags) {
    Fd fd(::openat(directory_.get(), name.c_str(), flags, 0600));
    if (!fd) return fail(error_from_errno(errno, "open " + path_of(name)));
    return std::make_shared<PosixFile>(std::move(fd), path_of(name));
  }

  Fd directory_;
  std::string path_;
  Fd lock_;
};

class FilesToRead final : public PosixFiles {
 public:
  using PosixFiles::PosixFiles;

  Result<void> lock() override {
    struct stat seen{};
    const Fd fd(::openat(directory(), kLockName, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd) {
      // Held only for this moment: looking at a log must not keep its server from starting.
      if (auto taken = take(fd, LOCK_SH); !taken) return taken;
      if (::fstat(fd.get(), &seen) != 0) return fail(error_from_errno(errno, "look at " + path_of(kLockName)));
    } else if (errno != ENOENT) {
      return fail(error_from_errno(errno, "open " + path_of(kLockName)));
    }
    // An owner writes its number into the file.
    const bool same = seen.st_ino == before_.st_ino && seen.st_mtim.tv_sec == before_.st_mtim.tv_sec &&
                      seen.st_mtim.tv_nsec == before_.st_mtim.tv_nsec;
    if (asked_ && !same) {
      return fail(
          Errc::failed_precondition,
          "the log in " + path_of("") + " was taken into use while it was read; stop its server, then try again");
    }
    asked_ = true;
    before_ = seen;
    return {};
  }

  Result<std::shared_ptr<LogFile>> open(const std::string& name) override {
    // Not to wait for a pipe, nor to follow a link to a device.
    Fd fd(::openat(directory(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return fail(error_from_errno(errno, "open " + path_of(name)));
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) return fail(error_from_errno(errno, "look at " + path_of(name)));
    if (!S_ISREG(status.st_mode)) return fail(Errc::failed_precondition, path_of(name) + " is not a regular file");
    return std::make_shared<PosixFile>(std::move(fd), path_of(name));
  }

  Result<std::shared_ptr<LogFile>> create(const std::string& name) override { return fail(refusal(name)); }
  Result<void> rename(const std::string& from, const std::string& /*to*/) override { return fail(refusal(from)); }
  Result<void> remove(const std::string& name) override { return fail(refusal(name)); }
  Result<void> sync() override { return fail(refusal("")); }

 private:
  [[nodiscard]] Error refusal(const std::string& name) const {
    return {
        .code = Errc::failed_precondition, .message = path_of(name) + " is open for reading only", .retry_after = {}};
  }

  struct stat before_{};
  bool asked_ = false;
};

}  // namespace

Result<std::shared_ptr<LogFiles>> open_log_directory(const std::filesystem::path& directory) {
  const std::string path = directory.string();
  std::error_code error;
  std::filesystem::create_directories(directory.parent_path(), error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return fail(error_from_errno(errno, "make " + path));
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(error_from_errno(errno, "open the log directory " + path));
  return std::make_shared<PosixFiles>(std::move(fd), path);
}

Result<std::shared_ptr<LogFiles>> open_log_directory_to_read(const std::filesystem::path& directory) {
  const std::string path = directory.string();
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(error_from_errno(errno, "open the log directory " + path));
  return std::make_shared<FilesToRead>(std::move(fd), path);
}

}  // namespace millrace
