// The CloudEvents decoders take any bytes; what they accept can be published and is the same after the way to a broker
// and back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "formats/cloudevents.h"
#include "formats/event_codec.h"

namespace {

void check(const millrace::Event& event) {
  if (!millrace::check_attributes(event)) std::abort();
  const std::string bytes = millrace::encode_event(event);
  const auto back = millrace::decode_event(bytes);
  if (!back || millrace::encode_event(*back) != bytes) std::abort();
}

// One header a line, name and value parted by the first ':', then an empty line, then the data.
millrace::Headers headers_of(std::string_view& text) {
  millrace::Headers headers;
  for (;;) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return headers;
    headers.emplace_back(line.substr(0, colon), line.substr(colon + 1));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto event = millrace::event_from_structured(text)) check(*event);
  if (const auto events = millrace::events_from_batch(text, millrace::kStructuredBytesMax)) {
    for (const auto& event : *events) check(event);
  }
  const auto headers = headers_of(text);
  const auto event = millrace::event_from_attributes(headers, std::string(text));
  if (event && millrace::check_attributes(*event)) check(*event);
  return 0;
}
