// A file line by line, whatever its length: what is read ahead is bounded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::cli {

class LineReader {
 public:
  static constexpr std::size_t kLineBytesMax = 8 << 20;

  // "-" is stdin.
  [[nodiscard]] static Result<LineReader> open(const std::string& path);

  // The next line that is not blank, without its end; nothing at the end of the file. Valid until the next call.
  // `too_large` beyond kLineBytesMax.
  [[nodiscard]] Result<std::optional<std::string_view>> next();

  [[nodiscard]] std::uint64_t number() const { return number_; }  // of the line that next() gave or failed on, from 1
  [[nodiscard]] std::uint64_t read_bytes() const { return read_bytes_; }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }  // 0: nobody knows

 private:
  explicit LineReader(Fd fd, std::uint64_t size_bytes) : fd_(std::move(fd)), size_bytes_(size_bytes) {}

  [[nodiscard]] Result<bool> fill();

  Fd fd_;
  std::uint64_t size_bytes_;
  std::string buffer_;
  std::size_t begin_ = 0;    // of what is not given out
  std::size_t scanned_ = 0;  // up to here there is no line's end
  bool at_end_ = false;
  std::uint64_t number_ = 0;
  std::uint64_t read_bytes_ = 0;
};

}  // namespace millrace::cli
