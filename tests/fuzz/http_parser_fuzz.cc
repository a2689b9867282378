// The request parser: whatever comes, it ends, gives each byte at most once, and reads the same requests out of the
// same bytes however they are cut. The first byte of the input says how.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "net/http_parser.h"

namespace {

constexpr std::size_t kEventsMax = 100'000;

// Everything that was understood, as text.
std::string read_all(std::string_view bytes, std::size_t piece) {
  using Event = millrace::HttpParser::Event;
  millrace::HttpParser parser({.header_bytes_max = 1024});
  std::string story;
  std::string pending;
  std::size_t events = 0;
  while (!bytes.empty()) {
    pending.append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    std::string_view input = pending;
    for (auto event = parser.next(input); event != Event::more; event = parser.next(input)) {
      if (++events > kEventsMax) std::abort();
      if (event == Event::bad) return story + "bad";  // why may depend on how much was there to look at
      if (event == Event::head) {
        story += parser.head().method + " " + parser.head().target + "\n";
        for (const auto& [name, value] : parser.head().headers)
          story.append(name).append(":").append(value).append("\n");
      }
      if (event == Event::body) story += parser.body();
      if (event == Event::done) {
        story += "\ndone\n";
        parser.reset();
      }
    }
    pending.erase(0, pending.size() - input.size());
  }
  return story;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > (64 << 10)) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t piece = 1 + data[0];
  const std::string whole = read_all(bytes, bytes.size() + 1);
  const std::string cut = read_all(bytes, piece);
  // Refused is refused; but what is refused as a whole may be understood up to the bad place when it comes in pieces.
  if (whole.ends_with("bad") != cut.ends_with("bad")) std::abort();
  if (!whole.ends_with("bad") && whole != cut) std::abort();
  return 0;
}
