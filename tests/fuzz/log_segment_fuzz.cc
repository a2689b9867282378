// The bytes of log segments: headers, records and their bodies, and the replay of records that are intact and absurd.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "broker/log/bytes.h"
#include "broker/log/record_bodies.h"
#include "broker/log/replay.h"
#include "broker/log/segment_format.h"
#include "broker/topic_state.h"

namespace {

using namespace millrace;

void decode_all(std::string_view bytes) {
  static_cast<void>(wal::decode_header(bytes));
  static_cast<void>(wal::decode_entry(bytes));
  static_cast<void>(wal::decode_dead(bytes));
  static_cast<void>(wal::decode_topic(bytes));
  static_cast<void>(wal::decode_group(bytes));
  static_cast<void>(wal::decode_ids(bytes));
  if (const auto message = wal::decode_message(bytes)) static_cast<void>(wal::stored_message(*message));
}

// What was written must be read back, and its damaged copy must not.
void check_record(const wal::RecordHead& head, std::string_view body) {
  std::string bytes;
  wal::append_record(bytes, head, body);
  wal::seal_batch(bytes, 7, 99);
  const auto record = wal::read_record(bytes, 99);
  if (!record || record->body != body || record->head.seq != head.seq || record->head.batch != 7) std::abort();
  if (wal::read_record(bytes, 98) || wal::read_record(std::string_view(bytes).substr(0, record->length - 1), 99)) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  decode_all(input);
  static_cast<void>(wal::read_record(input, 0));

  // The input as a list of records with intact checksums: few topics, groups and messages, so that they meet.
  TopicTable topics(100);
  wal::Replay replay(topics, {1, 2}, std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000)), {});
  wal::ByteReader reader(input);
  std::uint32_t offset = 4096;
  while (!reader.empty()) {
    const wal::RecordHead head{.type = static_cast<wal::RecordType>(1 + reader.u8() % 10),
                               .group = static_cast<std::uint16_t>(reader.u8() % 70),
                               .topic = reader.u8() % 4U,
                               .seq = reader.u8() % 40U};
    const std::string_view body = reader.bytes(reader.u8());
    check_record(head, body);
    const wal::Record record{.head = head, .body = body, .length = static_cast<std::uint32_t>(40 + body.size())};
    static_cast<void>(replay.apply(record, {.epoch = 1 + offset / 65536, .offset = offset}));
    offset += 4096;
  }
  static_cast<void>(replay.check_complete());
  for (const auto& topic : topics.all()) {
    if (!topic) continue;
    static_cast<void>(topic->recover());
    for (const auto& group : topic->groups()) {
      static_cast<void>(group->lag({}));
      int held = 0;
      while (group->take(EventLoop::TimePoint::max(), &held) != nullptr) {
      }
      static_cast<void>(group->purge());
    }
  }
  return 0;
}
