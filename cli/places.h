// Where events of a function or a topic wait: the readers that a command like `redrive` is about.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/context.h"
#include "core/error.h"

namespace millrace::cli {

// What has not been worked off.
struct Leftover {
  std::uint64_t waiting = 0;  // delayed ones and those behind another of their key included
  std::uint64_t in_flight = 0;
  std::uint64_t dead = 0;

  [[nodiscard]] std::uint64_t all() const { return waiting + in_flight + dead; }
  Leftover& operator+=(const Leftover& other);
};
// Out of a row of the topics, or an answer that says what is gone.
[[nodiscard]] Leftover leftover_in(const Json& answer);
// "3 events: 1 waiting, 1 being worked on, 1 dead letter".
[[nodiscard]] std::string told(const Leftover& leftover);

// One reader of one topic, and what it has left.
struct Place {
  std::string topic;
  std::string group;
  Leftover left;

  [[nodiscard]] std::string path(std::string_view what) const;  // of a route
};

// A function's are on its work topic and on the user topics that it reads; a topic's are all its readers. A name that
// is both a function's and a topic's means the function. `not_found` when it is neither.
[[nodiscard]] Result<std::vector<Place>> places_of(Context& context, const std::string& target);

}  // namespace millrace::cli
