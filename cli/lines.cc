#include "cli/lines.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "cli/files.h"

namespace millrace::cli {

Result<LineReader> LineReader::open(const std::string& path) {
  Fd fd(path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail(error_of_file(errno, "open '" + path + "'"));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail(error_from_errno(errno, "look at '" + path + "'"));
  if (S_ISDIR(status.st_mode)) return fail(Errc::invalid_argument, "'" + path + "' is a directory");
  return LineReader(std::move(fd), S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0);
}

Result<bool> LineReader::fill() {
  if (at_end_) return false;
  buffer_.erase(0, begin_);
  scanned_ -= begin_;
  begin_ = 0;
  std::array<char, 64 << 10> piece{};
  ssize_t got = -1;
  do {
    got = ::read(fd_.get(), piece.data(), piece.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail(error_from_errno(errno, "read"));
  at_end_ = got == 0;
  buffer_.append(piece.data(), static_cast<std::size_t>(got));
  return true;
}

Result<std::optional<std::string_view>> LineReader::next() {
  for (;;) {
    const auto end = buffer_.find('\n', scanned_);
    if (end == std::string::npos && !at_end_) {
      scanned_ = buffer_.size();
      if (buffer_.size() - begin_ > kLineBytesMax) {
        ++number_;
        return fail(Errc::too_large, "has more than " + std::to_string(kLineBytesMax) + " bytes");
      }
      const auto filled = fill();
      if (!filled) return fail(filled.error());
      continue;
    }
    if (end == std::string::npos && begin_ == buffer_.size()) return std::nullopt;
    ++number_;
    const auto stop = end == std::string::npos ? buffer_.size() : end;
    std::string_view line = std::string_view(buffer_).substr(begin_, stop - begin_);
    begin_ = scanned_ = end == std::string::npos ? buffer_.size() : end + 1;
    read_bytes_ += line.size() + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") != std::string_view::npos) return line;
  }
}

}  // namespace millrace::cli
