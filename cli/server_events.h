// Server-sent events, taken apart as they come in.
//
//   ServerEvents events([&](std::string_view what, const Json& data) { ... });
//   request.on_piece = [&](std::string_view bytes) { events.feed(bytes); };
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "formats/json.h"

namespace millrace::cli {

class ServerEvents {
 public:
  static constexpr std::size_t kLineBytesMax = 1 << 20;  // a longer one is left out

  using Take = std::function<void(std::string_view what, const Json& data)>;
  explicit ServerEvents(Take take) : take_(std::move(take)) {}

  // Events whose data is no JSON are left out.
  void feed(std::string_view bytes);

 private:
  void line(std::string_view text);

  Take take_;
  std::string line_;
  std::string what_;
  std::string data_;
};

}  // namespace millrace::cli
