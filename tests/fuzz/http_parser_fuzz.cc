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

struct Reading {
  std::string story;  // everything that was understood
  bool refused = false;
};

Reading read_all(std::string_view bytes, std::size_t piece) {
  using Event = millrace::HttpParser::Event;
  millrace::HttpParser parser({.header_bytes_max = 1024});
  Reading reading;
  std::string& story = reading.story;
  std::string pending;
  std::size_t events = 0;
  while (!bytes.empty()) {
    pending.append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    std::string_view input = pending;
    for (auto event = parser.next(input); event != Event::more; event = parser.next(input)) {
      if (++events > kEventsMax) std::abort();
      if (event == Event::bad) {
        reading.refused = true;
        return reading;
      }
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
  return reading;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > (64 << 10)) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t piece = 1 + data[0];
  const Reading whole = read_all(bytes, bytes.size() + 1);
  const Reading cut = read_all(bytes, piece);
  // When a fault is seen depends on how much is there to look at; but what one reading refuses, the other must not have
  // gone on from.
  const auto refused_or_waiting = [](const Reading& one, const Reading& other) {
    return one.refused ? one.story.starts_with(other.story) || (other.refused && other.story.starts_with(one.story))
                       : other.refused || one.story == other.story;
  };
  if (!refused_or_waiting(whole, cut) || !refused_or_waiting(cut, whole)) std::abort();
  return 0;
}
