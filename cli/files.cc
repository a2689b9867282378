#include "cli/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

namespace millrace::cli {
namespace {

constexpr std::size_t kChunkBytes = 64 << 10;

std::string shown(const std::string& path) {
  return path == "-" ? "standard input" : "'" + path + "'";
}

Result<Fd> open_to_read(const std::string& path) {
  Fd fd(path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail(error_of_file(errno, "cannot read " + shown(path)));
  return fd;
}

// Calls `take(bytes)` for each piece until the end.
template <class Take>
Result<void> read_all(int fd, const std::string& path, Take take) {
  std::array<char, kChunkBytes> chunk{};
  for (;;) {
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(error_of_file(errno, "cannot read " + shown(path)));
    if (n == 0) return {};
    const Result<void> taken = take(std::string_view(chunk.data(), static_cast<std::size_t>(n)));
    if (!taken) return taken;
  }
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(error_from_errno(errno, "cannot write a temporary copy of the standard input"));
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<Source> spool(const Fd& from) {
  const char* const said = std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): nothing here sets variables
  std::string name = std::string(said != nullptr && *said != '\0' ? said : "/var/tmp") + "/millrace-put-XXXXXX";
  Source source{.fd = Fd(::mkostemp(name.data(), O_CLOEXEC)), .size_bytes = 0};
  if (!source.fd) return fail(error_from_errno(errno, "cannot make a temporary file " + name));
  ::unlink(name.c_str());
  const auto copied = read_all(from.get(), "-", [&source](std::string_view bytes) {
    source.size_bytes += bytes.size();
    return write_all(source.fd.get(), bytes);
  });
  if (!copied) return fail(copied.error());
  if (::lseek(source.fd.get(), 0, SEEK_SET) != 0) return fail(error_from_errno(errno, "cannot rewind " + name));
  return source;
}

}  // namespace

Error error_of_file(int error_number, std::string_view what) {
  Error error = error_from_errno(error_number, what);
  switch (error.code) {
    case Errc::not_found:
    case Errc::already_exists:
    case Errc::permission_denied:
    case Errc::too_large: error.code = Errc::invalid_argument; break;
    default: break;
  }
  return error;
}

Result<std::string> read_whole(const std::string& path, std::size_t bytes_max) {
  const auto fd = open_to_read(path);
  if (!fd) return fail(fd.error());
  std::string text;
  const auto read = read_all(fd->get(), path, [&](std::string_view bytes) -> Result<void> {
    if (text.size() + bytes.size() > bytes_max) {
      return fail(Errc::too_large, shown(path) + " is larger than " + std::to_string(bytes_max) + " bytes");
    }
    text += bytes;
    return {};
  });
  if (!read) return fail(read.error());
  return text;
}

Result<Source> open_source(const std::string& path) {
  auto fd = open_to_read(path);
  if (!fd) return fail(fd.error());
  struct stat facts{};
  if (::fstat(fd->get(), &facts) != 0) return fail(error_from_errno(errno, "cannot look at " + shown(path)));
  if (S_ISREG(facts.st_mode)) {
    // A redirection may have been read from already; what is sent starts at the start.
    if (path == "-" && ::lseek(fd->get(), 0, SEEK_CUR) != 0) return spool(*fd);
    return Source{.fd = std::move(*fd), .size_bytes = static_cast<std::uint64_t>(facts.st_size)};
  }
  if (path == "-") return spool(*fd);
  return fail(Errc::invalid_argument, shown(path) + " is not a file" +
                                          (S_ISDIR(facts.st_mode) ? " but a directory; name the files in it" : ""));
}

std::string_view base_name(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

NewFile::NewFile(Fd fd, std::string path, std::string partial)
    : fd_(std::move(fd)), path_(std::move(path)), partial_(std::move(partial)) {}

NewFile::NewFile(NewFile&& other) noexcept
    : fd_(std::move(other.fd_)), path_(std::move(other.path_)), partial_(std::exchange(other.partial_, {})) {}

NewFile::~NewFile() {
  if (!partial_.empty()) ::unlink(partial_.c_str());
}

Result<NewFile> NewFile::create(const std::string& path) {
  const auto folder = path.substr(0, path.size() - base_name(path).size());
  std::string partial = folder + ".millrace-get-" + std::to_string(::getpid());
  Fd fd(::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!fd) return fail(error_of_file(errno, "cannot write '" + path + "'"));
  return NewFile(std::move(fd), path, std::move(partial));
}

Result<void> NewFile::commit() {
  fd_.reset();
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) {
    return fail(error_of_file(errno, "cannot write '" + path_ + "'"));
  }
  partial_.clear();
  return {};
}

}  // namespace millrace::cli
