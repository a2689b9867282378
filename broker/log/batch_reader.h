// Walks through the records of one segment, batch by batch.
//
//   BatchReader reader(bytes, header.seed(), last_batch);
//   while (reader.next(batch)) apply(batch);
//   if (reader.leftover()) ...  // something is readable behind the last whole batch
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "broker/log/bytes.h"
#include "broker/log/segment_format.h"

namespace millrace::wal {

// The batches of one segment, whole ones only.
class BatchReader {
 public:
  BatchReader(std::string_view bytes, std::uint32_t seed, std::uint64_t last_batch)
      : bytes_(bytes), seed_(seed), last_batch_(last_batch) {}

  struct Item {
    Record record;
    std::uint32_t offset = 0;
  };

  // The records of the next batch; false at the end, or where it is broken. at() stays where the batch would start.
  bool next(std::vector<Item>& batch) {
    batch.clear();
    for (std::size_t at = at_;;) {
      if (at >= bytes_.size()) return false;
      const auto record = read_record(bytes_.substr(at), seed_);
      if (!record || (last_batch_ != 0 && record->head.batch != last_batch_ + 1)) return false;
      if (!batch.empty() && record->head.batch != batch.front().record.head.batch) return false;
      batch.push_back({.record = *record, .offset = static_cast<std::uint32_t>(at)});
      at += padded(record->length);
      if ((record->head.flags & kEndOfBatch) == 0) continue;
      at_ = at;
      last_batch_ = record->head.batch;
      return true;
    }
  }

  struct Leftover {
    std::size_t end = 0;      // behind the last readable record
    std::uint64_t batch = 0;  // the greatest number of one
  };
  // What is still readable behind at(): of a batch that was never finished, or behind damage.
  [[nodiscard]] std::optional<Leftover> leftover() const {
    std::optional<Leftover> found;
    each_leftover([&found](const Record& record, std::size_t at) {
      if (!found) found.emplace();
      found->end = at + padded(record.length);
      found->batch = std::max(found->batch, record.head.batch);
    });
    return found;
  }

  // visit(const Record&, std::size_t offset) for each record that is readable behind at().
  template <class Visit>
  void each_leftover(const Visit& visit) const {
    for (std::size_t at = at_; at + kRecordHeadBytes <= bytes_.size(); at += 8) {
      if (get_u64(bytes_.data() + at + 8) == 0) continue;  // no length, no type: most of an empty segment
      const auto record = read_record(bytes_.substr(at), seed_);
      if (!record) continue;
      visit(*record, at);
      at += padded(record->length) - 8;
    }
  }

  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] std::uint64_t last_batch() const { return last_batch_; }

 private:
  std::string_view bytes_;
  std::uint32_t seed_;
  std::uint64_t last_batch_;  // 0: any may be first
  std::size_t at_ = kSegmentHeaderBytes;
};

}  // namespace millrace::wal
