// The event codec takes any bytes; what it accepts it writes again without loss.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "formats/event_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto event = millrace::decode_event({reinterpret_cast<const char*>(data), size});
  if (!event) return 0;
  if (!millrace::check_event_size(*event)) std::abort();
  const std::string bytes = millrace::encode_event(*event);
  const auto again = millrace::decode_event(bytes);
  if (!again || millrace::encode_event(*again) != bytes) std::abort();
  const auto headers = millrace::to_headers(*event);
  const auto from = millrace::from_headers(headers, event->data);
  if (!from || millrace::to_headers(*from) != headers) std::abort();
  return 0;
}
