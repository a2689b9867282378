// Our messages as NATS carries them: CloudEvents in binary mode, where headers hold the attributes, or in structured
// mode; what only we know in headers that start with "millrace-".
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "broker/broker.h"
#include "broker/nats/jetstream.h"
#include "broker/nats/link.h"
#include "broker/nats/names.h"
#include "core/error.h"

namespace millrace::nats {

using WallTime = std::chrono::system_clock::time_point;

// What a message of a topic says beside its event.
struct Received {
  std::string id;
  Event event;
  WallTime published_at{};
  std::uint32_t redrives = 0;
};

// A message that is to be structured is so if JSON can hold it and its document has at most `document_bytes_max`; else
// it is in binary mode, as every other: readers tell by the content type.
[[nodiscard]] Packet encode(const Outgoing& message, std::string subject, WallTime now, std::size_t document_bytes_max);

// A message of a stream: its number, and when its stream was made, since that of another stream of this name may have
// the same number.
struct Origin {
  std::string_view stream;
  std::string_view created{};
  std::uint64_t seq = 0;
  WallTime stored_at{};  // by the server's clock, for what does not say when it was published
};

// Anybody may publish: CloudEvents in binary and in structured mode are understood, and what is none becomes the data
// of an event that says where it came from, with what its headers say as attributes.
[[nodiscard]] Received decode(const Headers& encoded, std::string_view subject, std::string data, const Origin& origin);

// When it may be delivered, if it says so.
[[nodiscard]] std::optional<WallTime> due_of(const Message& message);
[[nodiscard]] std::optional<WallTime> published_of(const Headers& headers);

// `mark`: of the message, which its subject no longer tells.
[[nodiscard]] Packet encode_dead(const Received& message, const DeadLetter& letter, const Mark& mark,
                                 std::string subject, std::string_view once);
[[nodiscard]] DeadLetter decode_dead(const Kept& kept);
[[nodiscard]] Mark mark_of_dead(const Kept& kept);
// The message of a dead letter on its way back.
[[nodiscard]] Packet encode_redriven(const Kept& kept, std::string subject);

// How far the messages of an ordering key are: all up to this number are settled.
[[nodiscard]] std::string encode_turn(std::uint64_t settled);
[[nodiscard]] Result<std::uint64_t> decode_turn(std::string_view text);

// What happened to a message so far: one of them per message that was begun.
struct Attempt {
  std::string owner;          // who works on it: a life and a number in it; empty: nobody
  std::int64_t until_ms = 0;  // since 1970: the end of the owner's lease
  Counters counters;
};

[[nodiscard]] std::string encode(const Attempt& attempt);
[[nodiscard]] Result<Attempt> decode_attempt(std::string_view text);

// Where a delivery stands, out of the subject that its acks go to.
struct Position {
  std::uint64_t delivered = 0;     // times
  std::uint64_t seq = 0;           // in the stream
  std::uint64_t consumer_seq = 0;  // among all that the consumer was sent
  std::uint64_t pending = 0;       // behind it
};
[[nodiscard]] std::optional<Position> position_of(std::string_view ack_subject);
// When the server stored the message, out of the same subject.
[[nodiscard]] WallTime stored_at(std::string_view ack_subject);

[[nodiscard]] std::int64_t to_ms(WallTime time);
[[nodiscard]] WallTime from_ms(std::int64_t ms);

}  // namespace millrace::nats
