#include "broker/log/segment_format.h"

#include <array>
#include <cstring>

#include "broker/crc32c.h"
#include "broker/log/bytes.h"

namespace millrace::wal {
namespace {

constexpr std::string_view kMagic = "MILLRLOG";
constexpr std::size_t kHeaderFieldBytes = 56;  // followed by their checksum

// Offsets in a record's head.
constexpr std::size_t kHeadCrc = 0;  // of everything behind it in the head
constexpr std::size_t kBodyCrc = 4;
constexpr std::size_t kLength = 8;
constexpr std::size_t kType = 12;
constexpr std::size_t kFlags = 13;
constexpr std::size_t kGroup = 14;
constexpr std::size_t kTopic = 16;
constexpr std::size_t kReserved = 20;
constexpr std::size_t kBatch = 24;
constexpr std::size_t kSeq = 32;

std::uint32_t head_crc(std::string_view record, std::uint32_t seed) {
  return crc32c(record.substr(kBodyCrc, kRecordHeadBytes - kBodyCrc), seed);
}

}  // namespace

std::uint32_t SegmentHeader::seed() const {
  std::string bytes;
  put_u32(bytes, epoch);
  put_u64(bytes, salt);
  return crc32c(bytes);
}

std::string encode_header(const SegmentHeader& header) {
  std::string bytes(kMagic);
  put_u32(bytes, header.version);
  put_u32(bytes, header.epoch);
  put_u32(bytes, header.oldest);
  put_u32(bytes, 0);
  put_u64(bytes, header.segment_bytes);
  put_u64(bytes, header.salt);
  put_u64(bytes, header.id_key[0]);
  put_u64(bytes, header.id_key[1]);
  put_u32(bytes, crc32c(bytes));
  bytes.resize(kSegmentHeaderBytes, '\0');
  return bytes;
}

Result<SegmentHeader> decode_header(std::string_view bytes) {
  if (bytes.size() < kSegmentHeaderBytes || bytes.substr(0, kMagic.size()) != kMagic) {
    return fail(Errc::data_loss, "this is not the header of a log segment");
  }
  ByteReader reader(bytes.substr(kMagic.size()));
  SegmentHeader header;
  header.version = reader.u32();
  if (header.version > kFormatVersion) {
    return fail(Errc::failed_precondition, "the segment has format version " + std::to_string(header.version) +
                                               ", this Millrace knows versions up to " +
                                               std::to_string(kFormatVersion) + "; use a newer one");
  }
  if (header.version == 0) return fail(Errc::data_loss, "the header of the segment has no format version");
  if (header.version < kFormatVersionOldest) {
    return fail(Errc::failed_precondition, "the segment has format version " + std::to_string(header.version) +
                                               " of an early Millrace, this one reads versions from " +
                                               std::to_string(kFormatVersionOldest) + " on" +
                                               "; let the older one finish its events, then start with an empty log");
  }
  header.epoch = reader.u32();
  header.oldest = reader.u32();
  static_cast<void>(reader.u32());
  header.segment_bytes = reader.u64();
  header.salt = reader.u64();
  header.id_key = {reader.u64(), reader.u64()};
  static_assert(kMagic.size() + 4 * 4 + 4 * 8 == kHeaderFieldBytes);
  if (reader.u32() != crc32c(bytes.substr(0, kHeaderFieldBytes))) {
    return fail(Errc::data_loss, "the header of the segment is damaged");
  }
  if (header.epoch == 0 || header.segment_bytes < kSegmentBytesMin || header.segment_bytes > kSegmentBytesMax) {
    return fail(Errc::data_loss, "the header of the segment makes no sense");
  }
  return header;
}

void append_record(std::string& out, const RecordHead& head, std::string_view body) {
  const auto length = static_cast<std::uint32_t>(kRecordHeadBytes + body.size());
  std::array<char, kRecordHeadBytes> bytes{};  // checksums, flags and batch come later
  set_u32(bytes.data() + kLength, length);
  bytes[kType] = static_cast<char>(head.type);
  std::memcpy(bytes.data() + kGroup, &head.group, sizeof head.group);
  set_u32(bytes.data() + kTopic, head.topic);
  set_u64(bytes.data() + kSeq, head.seq);
  out.append(bytes.data(), bytes.size());
  out.append(body);
  out.append(padded(length) - length, '\0');
}

void seal_batch(std::string& bytes, std::uint64_t batch, std::uint32_t seed, bool end) {
  for (std::size_t at = 0; at < bytes.size();) {
    char* record = bytes.data() + at;
    const std::size_t length = get_u32(record + kLength);
    at += padded(length);
    set_u64(record + kBatch, batch);
    record[kFlags] = static_cast<char>(end && at >= bytes.size() ? kEndOfBatch : 0);
    const std::string_view view(record, length);
    set_u32(record + kBodyCrc, crc32c(view.substr(kRecordHeadBytes), seed));
    set_u32(record + kHeadCrc, head_crc(view, seed));
  }
}

std::optional<Record> read_head(std::string_view bytes, std::uint32_t seed) {
  if (bytes.size() < kRecordHeadBytes) return std::nullopt;
  const char* head = bytes.data();
  const std::uint32_t length = get_u32(head + kLength);
  if (length < kRecordHeadBytes || get_u32(head + kHeadCrc) != head_crc(bytes, seed)) return std::nullopt;
  const auto type = static_cast<std::uint8_t>(head[kType]);
  if (type < static_cast<std::uint8_t>(RecordType::message) || type > static_cast<std::uint8_t>(RecordType::seal) ||
      get_u32(head + kReserved) != 0) {
    return std::nullopt;
  }
  return Record{.head = {.type = static_cast<RecordType>(type),
                         .flags = static_cast<std::uint8_t>(head[kFlags]),
                         .group = get_u16(head + kGroup),
                         .topic = get_u32(head + kTopic),
                         .batch = get_u64(head + kBatch),
                         .seq = get_u64(head + kSeq)},
                .body = {},
                .length = length};
}

std::optional<Record> read_record(std::string_view bytes, std::uint32_t seed) {
  auto record = read_head(bytes, seed);
  if (!record || record->length > bytes.size()) return std::nullopt;
  record->body = bytes.substr(kRecordHeadBytes, record->length - kRecordHeadBytes);
  if (get_u32(bytes.data() + kBodyCrc) != crc32c(record->body, seed)) return std::nullopt;
  return record;
}

}  // namespace millrace::wal
