// The bytes of a log segment: its header, and records in batches. docs/reference/log-format.md is the specification.
//
// A record's checksums are seeded with the segment's epoch and a random salt: what an earlier use of the file left
// behind never validates, and nobody who chooses a payload can make it look like a record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "broker/message_digest.h"
#include "core/error.h"

namespace millrace::wal {

inline constexpr std::uint32_t kFormatVersion = 3;
inline constexpr std::uint32_t kFormatVersionOldest = 2;  // that is read; it has no removed topics
inline constexpr std::size_t kSegmentHeaderBytes = 4096;  // a page: never rewritten together with records
inline constexpr std::uint64_t kSegmentBytesMin = 1ULL << 20;
inline constexpr std::uint64_t kSegmentBytesMax = 256ULL << 20;

struct SegmentHeader {
  std::uint32_t version = kFormatVersion;
  std::uint32_t epoch = 0;   // 1, 2, ... in the order of use
  std::uint32_t oldest = 0;  // segments before it were not needed when this one was made
  std::uint64_t segment_bytes = 0;
  std::uint64_t salt = 0;
  IdKey id_key{};  // the same in all segments of a log

  [[nodiscard]] std::uint32_t seed() const;  // of its records' checksums
};

[[nodiscard]] std::string encode_header(const SegmentHeader& header);  // kSegmentHeaderBytes
// data_loss: not a header of ours, or damaged; failed_precondition: of a newer version of Millrace.
[[nodiscard]] Result<SegmentHeader> decode_header(std::string_view bytes);

enum class RecordType : std::uint8_t {
  message = 1,  // a message, or its copy further on
  entry = 2,    // what a group knows of a message
  dead = 3,     // a message became a dead letter of a group
  settled = 4,  // a group is done with a message
  purge = 5,    // a group is done with all of its messages
  topic = 6,    // made, changed or removed
  group = 7,
  ids = 8,    // published ids whose messages are gone but whose window is not over
  trim = 9,   // segments before epoch `seq` are not needed any more
  seal = 10,  // the segment is full, the next one goes on
};

inline constexpr std::size_t kRecordHeadBytes = 40;
inline constexpr std::uint8_t kEndOfBatch = 1;

// The fixed part of a record. In memory the checksums and the batch are filled in by seal_batch().
struct RecordHead {
  RecordType type = RecordType::seal;
  std::uint8_t flags = 0;
  std::uint16_t group = 0;
  std::uint32_t topic = 0;
  std::uint64_t batch = 0;
  std::uint64_t seq = 0;
};

struct Record {
  RecordHead head;
  std::string_view body;
  std::uint32_t length = 0;  // of the whole record, without padding
};

// Records start at multiples of eight.
[[nodiscard]] constexpr std::size_t padded(std::size_t length) {
  return (length + 7) & ~std::size_t{7};
}

// Appends a record, padded, without batch and checksums.
void append_record(std::string& out, const RecordHead& head, std::string_view body);

// Makes all records in `bytes` one batch: numbers, the end mark on the last, checksums. Without `end` the batch goes on
// in the next bytes.
void seal_batch(std::string& bytes, std::uint64_t batch, std::uint32_t seed, bool end = true);

// The record at the start of `bytes`; nothing when it is not one, or is cut off or damaged.
[[nodiscard]] std::optional<Record> read_record(std::string_view bytes, std::uint32_t seed);

// The same without a look at the body, which may be damaged or cut off, and is left empty.
[[nodiscard]] std::optional<Record> read_head(std::string_view bytes, std::uint32_t seed);

}  // namespace millrace::wal
