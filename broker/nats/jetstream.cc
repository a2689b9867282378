#include "broker/nats/jetstream.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"
#include "broker/nats/settings.h"
#include "formats/base64.h"

namespace millrace::nats {
namespace {

constexpr std::size_t kAnswerBytesMax = 64U << 20;
constexpr std::chrono::milliseconds kAgain{100};  // JetStream needs a moment after its server is there
constexpr int kCallTriesMax = 3;
constexpr std::int64_t kOtherStream = 10060;  // the stream is not the expected one

// The codes of JetStream's errors that mean something to us.
Errc code_of(std::int64_t http, std::int64_t number) {
  switch (number) {
    case 10014:                               // consumer not found
    case 10037:                               // no message found
    case 10043:                               // message not found
    case 10059: return Errc::not_found;       // stream not found
    case 10071:                               // wrong last sequence of the subject
    case 10164: return Errc::aborted;         // the same for a concurrent write
    case 10023:                               // insufficient resources
    case 10028:                               // account resources exceeded
    case 10047:                               // storage resources exceeded
    case 10077: return Errc::no_space;        // the stream is full
    case 10054: return Errc::too_large;       // message exceeds the stream's maximum
    case 10058: return Errc::already_exists;  // stream name in use with other settings
    default: break;
  }
  if (http == 404) return Errc::not_found;
  return http == 503 || http == 408 ? Errc::unavailable : Errc::failed_precondition;
}

// "NATS/1.0\r\nName: value\r\n\r\n"
Headers parse_block(std::string_view block) {
  Headers headers;
  block = block.substr(std::min(block.find("\r\n"), block.size()));
  while (block.starts_with("\r\n")) {
    block.remove_prefix(2);
    const auto line = block.substr(0, block.find("\r\n"));
    block.remove_prefix(line.size());
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    auto value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    headers.emplace_back(line.substr(0, colon), value);
  }
  return headers;
}

bool is_passing(const Error& error) {
  return error.code == Errc::unavailable || error.code == Errc::deadline_exceeded;
}

}  // namespace

Task<Result<Json>> JetStream::ask(std::shared_ptr<const Packet> packet) {
  const std::string& subject = packet->subject;
  auto answer = co_await link_.request(packet, options_.request_timeout);
  // The API itself is only away for a while.
  if (!answer && answer.error().code == Errc::not_found && subject.starts_with("$JS.")) {
    answer.error().code = Errc::unavailable;
  }
  if (!answer) co_return fail(answer.error().with(subject));
  auto parsed = parse_json(answer->data(), kAnswerBytesMax);
  if (!parsed) co_return fail(Errc::internal, subject + ": the NATS server's answer is no JSON");
  const Json* error = parsed->find("error");
  if (error == nullptr) co_return parsed;
  const auto number = error->int_or("err_code", 0);
  const std::string said = number == kOtherStream
                               ? "a stream of somebody else has this subject at " + shown_nats_url(options_.url) +
                                     "; take it from there, or set nats_prefix"
                               : error->string_or("description", "refused");
  co_return fail(code_of(error->int_or("code", 0), number),
                 subject + ": " + said + " (" + std::to_string(number) + ")");
}

Task<Result<Json>> JetStream::call(std::string operation, Json request) {
  const auto packet = std::make_shared<const Packet>(
      Packet{.subject = "$JS.API." + operation, .data = request.is_null() ? std::string() : request.dump()});
  for (int tries = 1;; ++tries) {
    auto answer = co_await ask(packet);
    if (answer || !is_passing(answer.error()) || tries == kCallTriesMax || link_.closed()) co_return answer;
    const Deadline deadline(loop_, options_.request_timeout);
    co_await link_.wait_connected(deadline.token());
    if (link_.closed()) co_return fail(answer.error());
    const auto slept = co_await sleep_for(loop_, kAgain, deadline.token());
    if (!slept) co_return answer;
  }
}

Task<Result<JetStream::Made>> JetStream::ensure_stream(std::string name, Json config, std::uint64_t first_seq) {
  for (bool again = false;; again = true) {
    auto info = co_await call("STREAM.INFO." + name);
    if (!info && info.error().code != Errc::not_found) co_return fail(info.error());
    const Json* there = info ? info->find("config") : nullptr;
    if (there != nullptr) {
      if (auto ours = check_stream(*there, config); !ours) co_return fail(ours.error());
      if (says_all(*there, config)) co_return Made{.created = false, .answer = std::move(*info)};
      auto updated = co_await call("STREAM.UPDATE." + name, changed_to(*there, config));
      if (!updated) co_return fail(updated.error());
      co_return Made{.created = false, .answer = std::move(*updated)};
    }
    Json wanted = config;
    if (first_seq != 0) wanted.set("first_seq", first_seq);
    auto created = co_await call("STREAM.CREATE." + name, std::move(wanted));
    if (created) co_return Made{.created = true, .answer = std::move(*created)};
    // Another node has made it since we asked, with a first number of its own.
    if (again || created.error().code != Errc::already_exists) co_return fail(created.error());
  }
}

Task<Result<Stored>> JetStream::publish(std::string stream, Packet given) {
  // A stream of somebody else that has the subject must not store it and confirm it in our stream's place.
  given.headers.emplace_back(kExpectedStream, stream);
  const auto packet = std::make_shared<const Packet>(std::move(given));
  const bool repeatable =
      std::ranges::any_of(packet->headers, [](const auto& header) { return header.first == "Nats-Msg-Id"; });
  const Deadline deadline(loop_, options_.publish_timeout);
  for (;;) {
    auto answer = co_await ask(packet);
    if (answer) co_return Stored{.seq = answer->uint_or("seq", 0), .duplicate = answer->bool_or("duplicate", false)};
    // Nobody listens: there is no such stream, or its server is just starting.
    if (answer.error().code == Errc::not_found) {
      const auto info = co_await call("STREAM.INFO." + stream);
      if (!info && info.error().code == Errc::not_found) co_return fail(answer.error());
      answer.error().code = Errc::unavailable;
    }
    if (!repeatable || !is_passing(answer.error()) || deadline.expired() || link_.closed())
      co_return fail(answer.error());
    co_await link_.wait_connected(deadline.token());
    if (link_.closed()) co_return fail(answer.error());
    const auto slept = co_await sleep_for(loop_, kAgain, deadline.token());
    if (!slept) co_return fail(answer.error());
  }
}

Task<Result<Kept>> JetStream::get(std::string stream, Json request) {
  auto answer = co_await call("STREAM.MSG.GET." + stream, std::move(request));
  if (!answer) co_return fail(answer.error());
  const Json* message = answer->find("message");
  if (message == nullptr) co_return fail(Errc::internal, "stream " + stream + ": an answer without a message");
  auto headers = base64_decode(message->string_or("hdrs", ""));
  auto data = base64_decode(message->string_or("data", ""));
  if (!headers || !data) co_return fail(Errc::internal, "stream " + stream + ": a message that is no base64");
  co_return Kept{.seq = message->uint_or("seq", 0),
                 .subject = message->string_or("subject", ""),
                 .headers = parse_block(*headers),
                 .data = std::move(*data)};
}

Task<Result<Kept>> JetStream::next_message(std::string stream, std::uint64_t from, std::string subject) {
  auto kept = co_await get(std::move(stream), Json::object({{"seq", from}, {"next_by_subj", std::move(subject)}}));
  co_return kept;
}

Task<Result<Kept>> JetStream::last_message(std::string stream, std::string subject) {
  auto kept = co_await get(std::move(stream), Json::object({{"last_by_subj", std::move(subject)}}));
  co_return kept;
}

}  // namespace millrace::nats
