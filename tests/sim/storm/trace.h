// What happened, as a number that is the same whenever the same happened, and as text for who wants to read it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "async/event_loop.h"

namespace millrace::storm {

class Trace {
 public:
  Trace(const EventLoop& loop, bool shown) : loop_(loop), shown_(shown) {}

  void note(std::string_view line) {
    const auto at = loop_.now().time_since_epoch().count();
    for (int shift = 0; shift < 64; shift += 8) add(static_cast<unsigned char>(at >> shift));
    for (const char letter : line) add(static_cast<unsigned char>(letter));
    if (shown_) {
      std::fprintf(stderr, "%10.3f %.*s\n", static_cast<double>(at) / 1e9, static_cast<int>(line.size()), line.data());
    }
  }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }

 private:
  void add(unsigned char byte) { hash_ = (hash_ ^ byte) * 0x100000001b3; }

  const EventLoop& loop_;
  bool shown_;
  std::uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace millrace::storm
