// Everything a NATS server or another of its clients can put before us: records of attempts and turns, subjects that
// acks go to, subjects and headers of messages. Nothing may break on any bytes, and what is accepted means the same
// when it is written again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "broker/nats/names.h"
#include "broker/nats/wire.h"

namespace {

using namespace millrace;
using namespace millrace::nats;

// "Name: value" lines, an empty one, and the body.
Headers headers_of(std::string_view text, std::string& body) {
  Headers headers;
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() < text.size() ? line.size() + 1 : text.size());
    if (line.empty()) break;
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    headers.emplace_back(line.substr(0, colon), line.substr(colon + 1));
  }
  body = text;
  return headers;
}

void check(bool good) {
  if (!good) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto attempt = decode_attempt(text)) {
    const auto again = decode_attempt(encode(*attempt));
    check(again && again->owner == attempt->owner && again->until_ms == attempt->until_ms &&
          again->counters.failures == attempt->counters.failures && again->counters.losses == attempt->counters.losses);
  }
  if (const auto turn = decode_turn(text)) check(*decode_turn(encode_turn(*turn)) == *turn);
  if (position_of(text)) check(!consumer_of(text).empty());

  static const Names kNames = *Names::make("millrace");
  if (const auto mark = kNames.mark_of(text); mark && !mark->group.empty()) {
    check(kNames.mark_of(kNames.marked("t", *mark)) == mark);
  }
  (void)kNames.news_of(text);
  (void)kNames.topic_of(text);
  (void)Names::group_of(text);
  check(percent_decode(percent_encode(text)) == text);

  std::string body;
  Kept kept{.seq = 7, .subject = "s", .headers = headers_of(text, body), .data = {}};
  kept.data = body;
  const DeadLetter letter = decode_dead(kept);
  check(letter.event.data.size() <= size + 1);
  for (const auto& [name, value] : encode_redriven(kept, "s").headers) check(!name.empty() || value.size() <= size);
  return 0;
}
