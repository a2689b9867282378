// The JSON parser takes any bytes; what it accepts it writes again without loss, and the record readers survive it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "formats/json.h"
#include "formats/record_json.h"

namespace {

constexpr std::size_t kBytesMax = 1 << 20;

// Infinities do not exist in JSON, so that the parser gives none; everything else compares equal to itself.
void check_round_trip(const millrace::Json& json) {
  const auto compact = millrace::parse_json(json.dump(), kBytesMax * 16);
  const auto indented = millrace::parse_json(json.dump_indented(), kBytesMax * 160);
  if (!compact || !indented || *compact != json || *indented != json) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto json = millrace::parse_json({reinterpret_cast<const char*>(data), size}, kBytesMax);
  if (!json) return 0;
  check_round_trip(*json);
  if (const auto run = millrace::run_from_json(*json)) {
    const auto text = millrace::to_json(*run);
    const auto again = millrace::run_from_json(text);
    if (!again || millrace::to_json(*again) != text) std::abort();
  }
  (void)millrace::attempt_from_json(*json);
  (void)millrace::function_from_json(*json);
  return 0;
}
