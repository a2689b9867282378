// The bytes of a segment, a part at a time, in a buffer that serves for all segments: what is read is checked while it
// is still in the processor's cache, and a log of any size costs the same memory.
//
//   SegmentWindow window(file, 0, size_bytes, buffer);
//   while (... window.move_to(at)) look_at(window.bytes());   // from `at` on
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "broker/log/log_files.h"
#include "core/error.h"

namespace millrace::wal {

class SegmentWindow {
 public:
  static constexpr std::size_t kBytes = 2 << 20;  // more only where a batch is larger

  struct Buffer {
    std::unique_ptr<char[]> bytes;  // NOLINT(modernize-avoid-c-arrays): memory that is not filled with zeros first
    std::size_t size = 0;
  };

  // Empty, and at `from`.
  SegmentWindow(LogFile& file, std::size_t from, std::size_t segment_bytes, Buffer& buffer)
      : file_(file), segment_bytes_(segment_bytes), buffer_(buffer), from_(from) {}

  // Makes the window begin at `at`, which is in it or at its end, and holds more than before.
  Result<void> move_to(std::size_t at) {
    const std::size_t kept = from_ + size_ - at;
    const std::size_t wanted = std::min(std::max(kBytes, 2 * kept), segment_bytes_ - at);
    if (wanted > buffer_.size) {
      Buffer larger{.bytes = std::make_unique_for_overwrite<char[]>(wanted), .size = wanted};  // NOLINT: as above
      if (kept > 0) std::memcpy(larger.bytes.get(), buffer_.bytes.get() + (at - from_), kept);
      buffer_ = std::move(larger);
    } else if (kept > 0) {
      std::memmove(buffer_.bytes.get(), buffer_.bytes.get() + (at - from_), kept);
    }
    const std::size_t more = wanted - kept;
    const auto got = file_.read_into(at + kept, std::span(buffer_.bytes.get() + kept, more));
    if (!got) return fail(got.error());
    from_ = at;
    size_ = kept + *got;
    if (*got < more) segment_bytes_ = from_ + size_;
    return {};
  }

  [[nodiscard]] std::string_view bytes() const { return {buffer_.bytes.get(), size_}; }
  [[nodiscard]] std::size_t from() const { return from_; }
  // The segment ends with it, or its file does.
  [[nodiscard]] bool is_last() const { return from_ + size_ == segment_bytes_; }

 private:
  LogFile& file_;
  std::size_t segment_bytes_;
  Buffer& buffer_;
  std::size_t from_;
  std::size_t size_ = 0;
};

}  // namespace millrace::wal
