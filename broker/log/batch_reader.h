// Walks through the records of one segment, batch by batch.
//
//   BatchReader reader(bytes, header.seed(), last_batch);
//   while (reader.next(batch)) apply(batch);
//   reader.each_leftover(visit);  // what is readable behind the last whole batch
//
// The bytes may come in windows, each of which reaches as far back as at(): cut_off() says that there should be more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "broker/log/bytes.h"
#include "broker/log/segment_format.h"

namespace millrace::wal {

// The batches of one segment, whole ones only.
class BatchReader {
 public:
  // All bytes of the segment; or its first, and further ones by set_window().
  BatchReader(std::string_view bytes, std::uint32_t seed, std::uint64_t last_batch)
      : bytes_(bytes), seed_(seed), last_batch_(last_batch) {}

  struct Item {
    Record record;
    std::uint32_t offset = 0;
  };

  // `bytes` are those of the segment from `from` on.
  void set_window(std::string_view bytes, std::size_t from) {
    bytes_ = bytes;
    from_ = from;
  }

  // The records of the next batch; false at the end, or where it is broken. at() stays where the batch would start.
  bool next(std::vector<Item>& batch) {
    batch.clear();
    cut_off_ = false;
    for (std::size_t at = at_;;) {
      const auto record = read_record(bytes_from(at), seed_);
      if (!record) {
        cut_off_ = is_cut_off(at);
        return false;
      }
      if (last_batch_ != 0 && record->head.batch != last_batch_ + 1) return false;
      if (!batch.empty() && record->head.batch != batch.front().record.head.batch) return false;
      batch.push_back({.record = *record, .offset = static_cast<std::uint32_t>(at)});
      at += padded(record->length);
      if ((record->head.flags & kEndOfBatch) == 0) continue;
      at_ = at;
      last_batch_ = record->head.batch;
      return true;
    }
  }

  // True when the last next() came to the end of the bytes, and not to what is broken.
  [[nodiscard]] bool cut_off() const { return cut_off_; }

  // visit(const Record&, std::size_t offset) for each record that is readable from `at` on, which is not before at().
  // Returns where to go on in the next window, where there is one (`more`).
  template <class Visit>
  std::size_t each_leftover(std::size_t at, bool more, const Visit& visit) const {
    for (; at + kRecordHeadBytes <= from_ + bytes_.size(); at += 8) {
      const std::string_view rest = bytes_from(at);
      if (get_u64(rest.data() + 8) == 0) continue;  // no length, no type: most of an empty segment
      const auto record = read_record(rest, seed_);
      if (!record && more && is_cut_off(at)) return at;
      if (!record) continue;
      visit(*record, at);
      at += padded(record->length) - 8;
    }
    return at;
  }

  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] std::uint64_t last_batch() const { return last_batch_; }

 private:
  [[nodiscard]] std::string_view bytes_from(std::size_t at) const {
    return bytes_.substr(std::min(at - from_, bytes_.size()));
  }
  [[nodiscard]] bool is_cut_off(std::size_t at) const {
    const std::string_view rest = bytes_from(at);
    if (rest.size() < kRecordHeadBytes) return true;
    const auto head = read_head(rest, seed_);
    return head && head->length > rest.size();
  }

  std::string_view bytes_;
  std::size_t from_ = 0;
  std::uint32_t seed_;
  std::uint64_t last_batch_;  // 0: any may be first
  std::size_t at_ = kSegmentHeaderBytes;
  bool cut_off_ = false;
};

}  // namespace millrace::wal
