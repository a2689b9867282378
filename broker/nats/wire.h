// Our messages as NATS carries them: CloudEvents' binary mode in headers, what only we know in headers that start with
// "millrace-".
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "broker/broker.h"
#include "broker/nats/jetstream.h"
#include "broker/nats/link.h"
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

[[nodiscard]] Packet encode(const Outgoing& message, std::string subject, WallTime now);

// Anybody may publish: what is no event becomes the data of one that says where it came from. `stream` and `seq` name
// the message.
[[nodiscard]] Received decode(const Headers& encoded, std::string_view subject, std::string data,
                              std::string_view stream, std::uint64_t seq);

// When it may be delivered, if it says so.
[[nodiscard]] std::optional<WallTime> due_of(const Message& message);
[[nodiscard]] std::optional<WallTime> published_of(const Headers& headers);

[[nodiscard]] Packet encode_dead(const Received& message, const DeadLetter& letter, std::string subject,
                                 std::string_view once);
[[nodiscard]] DeadLetter decode_dead(const Kept& kept);
// The message of a dead letter on its way back.
[[nodiscard]] Packet encode_redriven(const Kept& kept, std::string subject);

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
  std::uint64_t delivered = 0;  // times
  std::uint64_t seq = 0;        // in the stream
  std::uint64_t pending = 0;    // behind it
};
[[nodiscard]] std::optional<Position> position_of(std::string_view ack_subject);

[[nodiscard]] std::int64_t to_ms(WallTime time);
[[nodiscard]] WallTime from_ms(std::int64_t ms);

}  // namespace millrace::nats
