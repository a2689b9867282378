// Keeps what is worth keeping of a function's stdout and stderr, in the order in which it arrived, within a bound that
// holds whatever the function writes: of each stream the first and the last half of its share; the middle is dropped
// and counted. So is what a line has beyond its own bound, since whoever reads a log reads lines.
//
//   LogCapture log(function.limits.log_bytes, function.limits.log_line_bytes);
//   log.append(LogStream::err, bytes);
//   execution.log_tail = log.tail(kLogTailBytesMax);
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace millrace::launched {

enum class LogStream : std::uint8_t { out, err };

class LogCapture {
 public:
  // Changes between the streams that are kept apart; further ones are merged into the pieces before.
  static constexpr std::size_t kPiecesMax = 4096;

  // `stream_bytes_max`: what is kept of each stream, at most kLogTailBytesMax: more could never be shown.
  // `line_bytes_max` 0: lines are as long as they are.
  explicit LogCapture(std::uint64_t stream_bytes_max, std::uint64_t line_bytes_max = 0);
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  void append(LogStream stream, std::string_view bytes);

  // Everything that was written, kept or not; of both streams, and of one.
  [[nodiscard]] std::uint64_t total_bytes() const { return streams_[0].total + streams_[1].total; }
  [[nodiscard]] std::uint64_t total_bytes(LogStream stream) const {
    return streams_[static_cast<std::size_t>(stream)].total;
  }

  // The kept bytes in order of arrival with a line "[... N bytes of stdout dropped ...]" where some are missing; if
  // that is more than `bytes_max`, its last part.
  [[nodiscard]] std::string tail(std::size_t bytes_max) const;

 private:
  struct Piece {
    std::uint64_t order;
    std::string bytes;
  };
  struct Kept {
    std::deque<Piece> head;
    std::deque<Piece> tail;
    std::size_t head_bytes = 0;
    std::size_t tail_bytes = 0;
    std::uint64_t dropped = 0;
    std::uint64_t total = 0;
    std::uint64_t line = 0;       // bytes of the line that goes on
    std::uint64_t line_left = 0;  // and those of it that were left out
  };

  void append_lines(LogStream stream, Kept& kept, std::string_view bytes);
  void keep(Kept& kept, std::string_view bytes);
  void add(std::deque<Piece>& pieces, std::string_view bytes);
  static void trim(Kept& kept, std::size_t bytes_max);

  std::size_t head_max_;
  std::size_t tail_max_;
  std::uint64_t line_max_;
  std::uint64_t order_ = 0;
  const std::deque<Piece>* last_ = nullptr;  // where the newest bytes went
  std::array<Kept, 2> streams_;
};

}  // namespace millrace::launched
