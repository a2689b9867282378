#include "broker/nats/wire.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "formats/cloudevents.h"
#include "formats/identity.h"
#include "formats/media_type.h"

namespace millrace::nats {
namespace {

constexpr std::string_view kId = "millrace-id";
constexpr std::string_view kPublished = "millrace-published";
constexpr const char* kDue = "millrace-due";
constexpr std::string_view kRedrives = "millrace-redrives";
constexpr std::string_view kReason = "millrace-reason";
constexpr std::string_view kFailures = "millrace-failures";
constexpr std::string_view kLosses = "millrace-losses";
constexpr std::string_view kDied = "millrace-died";
constexpr std::string_view kKey = "millrace-key";
constexpr std::string_view kPriority = "millrace-priority";
constexpr std::string_view kMessageId = "Nats-Msg-Id";

template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::string_view> find(const Headers& headers, std::string_view name) {
  for (const auto& [each, value] : headers) {
    if (each == name) return value;
  }
  return std::nullopt;
}

std::string text_of(const Headers& headers, std::string_view name) {
  const auto value = find(headers, name);
  return value ? percent_decode(*value) : std::string();
}

std::uint32_t count_of(const Headers& headers, std::string_view name) {
  const auto value = find(headers, name);
  return value ? number_of<std::uint32_t>(*value).value_or(0) : 0;
}

Headers decoded(const Headers& encoded) {
  Headers headers;
  headers.reserve(encoded.size());
  for (const auto& [name, value] : encoded) headers.emplace_back(name, percent_decode(value));
  return headers;
}

constexpr std::size_t kForeignHeadersMax = 32;

// What came from somebody who knows no CloudEvents: its plain headers are attributes of its own.
Event opaque_event(const Headers& headers, std::string_view subject, std::string data, const Origin& origin) {
  Event event;
  event.source = "nats:" + std::string(origin.stream);
  event.source_id = std::to_string(origin.seq);
  if (!origin.created.empty()) event.source_id = std::string(origin.created) + "/" + event.source_id;
  event.type = "nats.message";
  event.subject = subject;
  for (const auto& [header, value] : headers) {
    std::string name(header);
    std::ranges::transform(name, name.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (name == "content-type") event.content_type = value;
    if (!is_extension_name(name) || event.extensions.size() >= kForeignHeadersMax) continue;
    const bool known = std::ranges::find(event.extensions, name, &std::pair<std::string, std::string>::first) !=
                       event.extensions.end();
    if (!known) event.extensions.emplace_back(std::move(name), value);
  }
  event.data = std::move(data);
  return event;
}

// The content type says so. The binding's first version knew of no headers: there the document does.
bool may_be_structured(const Headers& headers, std::string_view data) {
  const auto type = std::ranges::find_if(
      headers, [](const auto& each) { return each.first == "Content-Type" || each.first == "content-type"; });
  if (type != headers.end()) return same_media_type(type->second, kStructuredType);
  return data.starts_with('{') && data.find("\"specversion\"") != std::string_view::npos;
}

// Of anybody: ours, a CloudEvent in either mode, or something else.
Event event_of(const Headers& headers, std::string_view subject, std::string data, const Origin& origin) {
  // One without an id of its own would be taken for any other such.
  if (auto event = from_headers(headers, data); event && !event->source_id.empty() && !event->source.empty()) {
    return std::move(*event);
  }
  if (may_be_structured(headers, data)) {
    if (auto event = own_event_from_structured(data)) return std::move(*event);
  }
  return opaque_event(headers, subject, std::move(data), origin);
}

// $JS.ACK.[domain.account.]stream.consumer.delivered.stream seq.consumer seq.time.pending[.token]
struct AckSubject {
  explicit AckSubject(std::string_view text) {
    std::size_t count = 0;
    while (count < tokens.size() && !text.empty()) {
      const auto dot = text.find('.');
      tokens[count++] = text.substr(0, dot);
      text = dot == std::string_view::npos ? std::string_view() : text.substr(dot + 1);
    }
    if (tokens[0] != "$JS" || tokens[1] != "ACK") return;
    if (count == 9) first = 4;
    if (count == 11 || count == 12) first = 6;
  }

  std::array<std::string_view, 13> tokens;
  std::size_t first = 0;  // the token behind the consumer; 0: it is no such subject
};

}  // namespace

std::int64_t to_ms(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

WallTime from_ms(std::int64_t ms) {
  return WallTime(std::chrono::milliseconds(ms));
}

Packet encode(const Outgoing& message, std::string subject, WallTime now, std::size_t document_bytes_max) {
  Packet packet{.subject = std::move(subject)};
  auto document = message.structured ? to_structured(message.event) : std::nullopt;
  if (document && document->size() <= document_bytes_max) {
    packet.headers.emplace_back("content-type", kStructuredType);
    packet.data = std::move(*document);
  } else {
    packet.headers = to_headers(message.event);
    packet.data = message.event.data;
  }
  packet.headers.emplace_back(kMessageId, message.id);
  packet.headers.emplace_back(kPublished, std::to_string(to_ms(now)));
  if (message.delay > std::chrono::milliseconds(0)) {
    packet.headers.emplace_back(kDue, std::to_string(to_ms(now + message.delay)));
  }
  return packet;
}

Received decode(const Headers& encoded, std::string_view subject, std::string data, const Origin& origin) {
  Received received;
  received.id = text_of(encoded, kId);
  if (received.id.empty()) received.id = text_of(encoded, kMessageId);
  if (received.id.empty()) received.id = std::string(origin.stream) + ":" + std::to_string(origin.seq);
  received.published_at = published_of(encoded).value_or(origin.stored_at);
  received.redrives = count_of(encoded, kRedrives);
  received.event = event_of(decoded(encoded), subject, std::move(data), origin);
  if (received.event.id.empty()) received.event.id = event_id(received.event.source, received.event.source_id);
  return received;
}

std::optional<WallTime> due_of(const Message& message) {
  const auto value = message.header(kDue);
  const auto ms = value ? number_of<std::int64_t>(*value) : std::nullopt;
  return ms ? std::optional(from_ms(*ms)) : std::nullopt;
}

std::optional<WallTime> published_of(const Headers& headers) {
  const auto value = find(headers, kPublished);
  const auto ms = value ? number_of<std::int64_t>(*value) : std::nullopt;
  return ms ? std::optional(from_ms(*ms)) : std::nullopt;
}

Packet encode_dead(const Received& message, const DeadLetter& letter, const Mark& mark, std::string subject,
                   std::string_view once) {
  Packet packet{.subject = std::move(subject), .headers = to_headers(message.event), .data = message.event.data};
  packet.headers.emplace_back(kMessageId, once);
  packet.headers.emplace_back(kId, letter.id);
  packet.headers.emplace_back(kPublished, std::to_string(to_ms(message.published_at)));
  packet.headers.emplace_back(kReason, letter.reason);
  packet.headers.emplace_back(kFailures, std::to_string(letter.counters.failures));
  packet.headers.emplace_back(kLosses, std::to_string(letter.counters.losses));
  packet.headers.emplace_back(kRedrives, std::to_string(letter.redrives));
  packet.headers.emplace_back(kDied, std::to_string(to_ms(letter.died_at)));
  if (!mark.key.empty()) packet.headers.emplace_back(kKey, mark.key);
  if (mark.priority != Priority::normal) packet.headers.emplace_back(kPriority, name_of(mark.priority));
  return packet;
}

Mark mark_of_dead(const Kept& kept) {
  Mark mark;
  if (const auto key = find(kept.headers, kKey); key && is_key_digest(*key)) mark.key = *key;
  if (const auto priority = find(kept.headers, kPriority)) {
    mark.priority = priority_of(*priority).value_or(Priority::normal);
  }
  return mark;
}

DeadLetter decode_dead(const Kept& kept) {
  Received received = decode(kept.headers, kept.subject, kept.data, {.stream = "dead", .seq = kept.seq});
  const auto died = number_of<std::int64_t>(text_of(kept.headers, kDied));
  return {.id = std::move(received.id),
          .event = std::move(received.event),
          .reason = text_of(kept.headers, kReason),
          .counters = {.failures = count_of(kept.headers, kFailures), .losses = count_of(kept.headers, kLosses)},
          .redrives = received.redrives,
          .died_at = from_ms(died.value_or(0))};
}

Packet encode_redriven(const Kept& kept, std::string subject) {
  Packet packet{.subject = std::move(subject), .data = kept.data};
  for (const auto& [name, value] : kept.headers) {
    const bool ours = name == kMessageId || name == kRedrives || name == kReason || name == kFailures ||
                      name == kLosses || name == kDied || name == kDue || name == kKey || name == kPriority ||
                      name == kExpectedStream;
    if (!ours) packet.headers.emplace_back(name, percent_decode(value));
  }
  packet.headers.emplace_back(kMessageId, "redrive " + std::to_string(kept.seq));
  packet.headers.emplace_back(kRedrives, std::to_string(count_of(kept.headers, kRedrives) + 1));
  return packet;
}

std::string encode(const Attempt& attempt) {
  return (attempt.owner.empty() ? "-" : attempt.owner) + " " + std::to_string(attempt.until_ms) + " " +
         std::to_string(attempt.counters.failures) + " " + std::to_string(attempt.counters.losses);
}

Result<Attempt> decode_attempt(std::string_view text) {
  std::array<std::string_view, 4> fields;
  for (auto& field : fields) {
    const auto space = text.find(' ');
    field = text.substr(0, space);
    text = space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
  }
  const auto until = number_of<std::int64_t>(fields[1]);
  const auto failures = number_of<std::uint32_t>(fields[2]);
  const auto losses = number_of<std::uint32_t>(fields[3]);
  if (fields[0].empty() || !until || !failures || !losses || !text.empty()) {
    return fail(Errc::data_loss, "the record of an attempt cannot be read: somebody else wrote there");
  }
  return Attempt{.owner = fields[0] == "-" ? std::string() : std::string(fields[0]),
                 .until_ms = *until,
                 .counters = {.failures = *failures, .losses = *losses}};
}

std::string encode_turn(std::uint64_t settled) {
  return std::to_string(settled);
}

Result<std::uint64_t> decode_turn(std::string_view text) {
  const auto settled = number_of<std::uint64_t>(text);
  if (!settled) return fail(Errc::data_loss, "the record of an ordering key cannot be read: somebody else wrote there");
  return *settled;
}

std::string_view consumer_of(std::string_view ack_subject) {
  const AckSubject ack(ack_subject);
  if (ack.first == 0) return {};
  const auto stream = ack.tokens[ack.first - 2];
  const auto consumer = ack.tokens[ack.first - 1];
  const auto start = static_cast<std::size_t>(stream.data() - ack_subject.data());
  return ack_subject.substr(start, stream.size() + 1 + consumer.size());
}

WallTime stored_at(std::string_view ack_subject) {
  const AckSubject ack(ack_subject);
  if (ack.first == 0) return {};
  const auto ns = number_of<std::int64_t>(ack.tokens[ack.first + 3]);
  if (!ns || *ns < 0) return {};
  return WallTime(std::chrono::duration_cast<WallTime::duration>(std::chrono::nanoseconds(*ns)));
}

std::optional<Position> position_of(std::string_view ack_subject) {
  const AckSubject ack(ack_subject);
  if (ack.first == 0) return std::nullopt;
  const auto delivered = number_of<std::uint64_t>(ack.tokens[ack.first]);
  const auto seq = number_of<std::uint64_t>(ack.tokens[ack.first + 1]);
  const auto consumer_seq = number_of<std::uint64_t>(ack.tokens[ack.first + 2]);
  const auto pending = number_of<std::uint64_t>(ack.tokens[ack.first + 4]);
  if (!delivered || !seq || !consumer_seq || !pending) return std::nullopt;
  return Position{.delivered = *delivered, .seq = *seq, .consumer_seq = *consumer_seq, .pending = *pending};
}

}  // namespace millrace::nats
