#include "broker/log/record_bodies.h"

#include <chrono>
#include <utility>

#include "broker/log/bytes.h"
#include "formats/event_codec.h"

namespace millrace::wal {
namespace {

void put_counters(std::string& out, const Counters& counters, std::uint32_t redrives) {
  put_u32(out, counters.failures);
  put_u32(out, counters.losses);
  put_u32(out, redrives);
}

// Times are taken for what they are only within reason: sums of them must not overflow.
bool sane(std::int64_t ms) {
  return ms >= 0 && ms <= Message::kPublishedMsMax;
}

template <class Body>
Result<Body> checked(const ByteReader& reader, Body body, const char* what) {
  if (!reader.ok() || !reader.empty()) {
    return fail(Errc::data_loss, std::string("a log record of type '") + what + "' has an impossible length");
  }
  return body;
}

}  // namespace

void encode(std::string& out, const MessageBody& body) {
  put_u64(out, body.open);
  put_u64(out, static_cast<std::uint64_t>(body.published_ms));
  put_u64(out, body.delay_ms);
  put_u32(out, body.content);
  put_u32(out, static_cast<std::uint32_t>(body.priority));
  put_u64(out, static_cast<std::uint64_t>(body.known_until_ms));
  put_u16(out, static_cast<std::uint16_t>(body.key.size()));
  put_u16(out, static_cast<std::uint16_t>(body.id.size()));
  out.append(body.key).append(body.id).append(body.event);
}

Result<MessageBody> decode_message(std::string_view bytes) {
  ByteReader reader(bytes);
  MessageBody body;
  body.open = reader.u64();
  body.published_ms = reader.i64();
  body.delay_ms = reader.u64();
  body.content = reader.u32();
  const std::uint32_t priority = reader.u32();
  body.known_until_ms = reader.i64();
  const std::size_t key_bytes = reader.u16();
  const std::size_t id_bytes = reader.u16();
  body.key = reader.bytes(key_bytes);
  body.id = reader.bytes(id_bytes);
  body.event = reader.rest();
  if (priority >= kPriorities) return fail(Errc::data_loss, "a stored message has an unknown priority");
  body.priority = static_cast<Priority>(priority);
  if (!sane(body.published_ms) || !sane(body.known_until_ms) || body.open == 0) {
    return fail(Errc::data_loss, "a stored message has impossible times, or nobody wants it");
  }
  return checked(reader, body, "message");
}

void encode(std::string& out, const EntryBody& body) {
  put_u32(out, body.begun ? 1 : 0);
  put_counters(out, body.counters, body.redrives);
  put_u64(out, static_cast<std::uint64_t>(body.written_ms));
  put_u64(out, body.delay_ms);
}

Result<EntryBody> decode_entry(std::string_view bytes) {
  ByteReader reader(bytes);
  EntryBody body;
  body.begun = reader.u32() != 0;
  body.counters.failures = reader.u32();
  body.counters.losses = reader.u32();
  body.redrives = reader.u32();
  body.written_ms = reader.i64();
  body.delay_ms = reader.u64();
  if (!sane(body.written_ms)) return fail(Errc::data_loss, "a stored entry has an impossible time");
  return checked(reader, body, "entry");
}

void encode(std::string& out, const DeadEntry& body) {
  put_counters(out, body.counters, body.redrives);
  put_u16(out, static_cast<std::uint16_t>(body.id.size()));
  put_u16(out, static_cast<std::uint16_t>(body.reason.size()));
  put_u64(out, static_cast<std::uint64_t>(body.died_ms));
  out.append(body.id).append(body.reason);
}

Result<DeadEntry> decode_dead(std::string_view bytes) {
  ByteReader reader(bytes);
  DeadEntry body;
  body.counters.failures = reader.u32();
  body.counters.losses = reader.u32();
  body.redrives = reader.u32();
  const std::size_t id_bytes = reader.u16();
  const std::size_t reason_bytes = reader.u16();
  body.died_ms = reader.i64();
  body.id = reader.bytes(id_bytes);
  body.reason = reader.bytes(reason_bytes);
  if (!sane(body.died_ms)) return fail(Errc::data_loss, "a stored dead letter has an impossible time");
  return checked(reader, std::move(body), "dead");
}

void encode(std::string& out, const TopicBody& body) {
  put_u64(out, body.lease_ms);
  put_u64(out, body.dedupe_window_ms);
  put_u64(out, body.bytes_max);
  put_u64(out, body.messages_max);
  put_u64(out, body.overdue_after_ms);
  out.append(body.name);
}

Result<TopicBody> decode_topic(std::string_view bytes) {
  ByteReader reader(bytes);
  TopicBody body;
  body.lease_ms = reader.u64();
  body.dedupe_window_ms = reader.u64();
  body.bytes_max = reader.u64();
  body.messages_max = reader.u64();
  body.overdue_after_ms = reader.u64();
  body.name = reader.rest();
  return checked(reader, body, "topic");
}

void encode(std::string& out, const GroupBody& body) {
  put_u32(out, static_cast<std::uint32_t>(body.says));
  out.append(body.name);
}

Result<GroupBody> decode_group(std::string_view bytes) {
  ByteReader reader(bytes);
  GroupBody body;
  const std::uint32_t says = reader.u32();
  body.name = reader.rest();
  if (says > static_cast<std::uint32_t>(GroupBody::Says::removed)) {
    return fail(Errc::data_loss, "a stored group says what nobody knows");
  }
  body.says = static_cast<GroupBody::Says>(says);
  return checked(reader, body, "group");
}

void encode(std::string& out, const std::vector<KnownId>& body) {
  for (const auto& known : body) {
    put_u64(out, known.id.low);
    put_u32(out, known.id.high);
    put_u32(out, known.content);
    put_u64(out, static_cast<std::uint64_t>(known.until_ms));
  }
}

Result<std::vector<KnownId>> decode_ids(std::string_view bytes) {
  ByteReader reader(bytes);
  std::vector<KnownId> body;
  while (!reader.empty() && reader.ok()) {
    KnownId known;
    known.id.low = reader.u64();
    known.id.high = reader.u32();
    known.content = reader.u32();
    known.until_ms = reader.i64();
    if (!sane(known.until_ms)) return fail(Errc::data_loss, "a stored id has an impossible time");
    body.push_back(known);
  }
  return checked(reader, std::move(body), "ids");
}

Result<StoredMessage> stored_message(const MessageBody& body) {
  auto event = decode_event(body.event);
  if (!event) return fail(Errc::data_loss, "the event of a stored message cannot be read: " + event.error().message);
  return StoredMessage{
      .id = std::string(body.id),
      .published_at = std::chrono::system_clock::time_point(std::chrono::milliseconds(body.published_ms)),
      .event = std::move(*event)};
}

}  // namespace millrace::wal
