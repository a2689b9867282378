// JetStream's own words over a link: management calls, confirmed publishes, reading by sequence number. All of it is
// requests and answers, so nothing here blocks.
//
//   auto info = co_await jetstream.call("STREAM.INFO.orders");            // a Result<Json>
//   auto stored = co_await jetstream.publish("orders", {.subject = "orders", .data = data});
//
// Thread: the loop's. Outlived by its link.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "async/task.h"
#include "broker/nats/link.h"
#include "core/error.h"
#include "formats/json.h"

namespace millrace::nats {

// A header that every message of ours has: only the stream of this name stores it.
inline constexpr std::string_view kExpectedStream = "Nats-Expected-Stream";

struct Stored {
  std::uint64_t seq = 0;
  bool duplicate = false;
};

// A message as a stream keeps it.
struct Kept {
  std::uint64_t seq = 0;
  std::string subject;
  Headers headers;  // percent-encoded
  std::string data;
};

class JetStream {
 public:
  JetStream(EventLoop& loop, Link& link, const NatsBrokerOptions& options)
      : loop_(loop), link_(link), options_(options) {}

  // The server's answer. Errors: not_found (stream, consumer, message), aborted (another write came first), no_space,
  // too_large, already_exists (a stream of that name with other settings), failed_precondition, unavailable,
  // deadline_exceeded. A call whose connection breaks is made again: all of them may be.
  [[nodiscard]] Task<Result<Json>> call(std::string operation, Json request = {});

  // Makes a stream, or changes what differs in one of ours that is there, see settings.h; failed_precondition, and
  // nothing is changed: it is somebody else's. `first_seq`, the number of its first message, is only for one that is
  // made. Asked first: a server counts the bytes of a stream that it is to make twice when it is there already.
  struct Made {
    bool created = false;
    Json answer;
  };
  [[nodiscard]] Task<Result<Made>> ensure_stream(std::string name, Json config, std::uint64_t first_seq = 0);

  // Confirmed by the server. A packet with a Nats-Msg-Id is sent again when the connection breaks, as long as
  // `publish_timeout` lasts; one without is not, since it may have arrived. not_found: there is no such stream;
  // failed_precondition: another stream has the subject, and did not store it.
  [[nodiscard]] Task<Result<Stored>> publish(std::string stream, Packet packet);

  // The message with this number, or the next behind it with the subject.
  [[nodiscard]] Task<Result<Kept>> next_message(std::string stream, std::uint64_t from, std::string subject);
  [[nodiscard]] Task<Result<Kept>> last_message(std::string stream, std::string subject);

 private:
  // Errors as `call`, with the one more that a second try may help against.
  [[nodiscard]] Task<Result<Json>> ask(std::shared_ptr<const Packet> packet);
  [[nodiscard]] Task<Result<Kept>> get(std::string stream, Json request);

  EventLoop& loop_;
  Link& link_;
  const NatsBrokerOptions& options_;
};

// The number of nanoseconds, as JetStream counts time.
[[nodiscard]] constexpr std::int64_t nanoseconds(std::chrono::milliseconds span) {
  return std::chrono::nanoseconds(span).count();
}

[[nodiscard]] constexpr std::chrono::milliseconds milliseconds(std::int64_t nanoseconds) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::nanoseconds(nanoseconds));
}

}  // namespace millrace::nats
