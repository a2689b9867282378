#include "cli/places.h"

#include <utility>

#include "cli/text.h"

namespace millrace::cli {

Leftover& Leftover::operator+=(const Leftover& other) {
  waiting += other.waiting;
  in_flight += other.in_flight;
  dead += other.dead;
  return *this;
}

Leftover leftover_in(const Json& answer) {
  return {.waiting = answer.uint_or("waiting", 0) + answer.uint_or("pending", 0) + answer.uint_or("delayed", 0) +
                     answer.uint_or("blocked", 0),
          .in_flight = answer.uint_or("in_flight", 0),
          .dead = answer.uint_or("dead", 0)};
}

std::string told(const Leftover& leftover) {
  std::vector<std::string> parts;
  if (leftover.waiting > 0) parts.push_back(std::to_string(leftover.waiting) + " waiting");
  if (leftover.in_flight > 0) parts.push_back(std::to_string(leftover.in_flight) + " being worked on");
  if (leftover.dead > 0) parts.push_back(counted(leftover.dead, "dead letter"));
  return counted(leftover.all(), "event") + (parts.empty() ? "" : ": " + some_of(parts, parts.size()));
}

std::string Place::path(std::string_view what) const {
  return "/api/v1/topics/" + encode_part(topic) + "/" + std::string(what) + "?group=" + encode_part(group);
}

Result<std::vector<Place>> places_of(Context& context, const std::string& target) {
  const auto answer = context.client().get("/api/v1/topics");
  if (!answer) return fail(answer.error());
  std::vector<Place> of_function;
  std::vector<Place> of_topic;
  bool is_topic = false;
  if (const Json* topics = answer->find("topics")) {
    for (const auto& topic : topics->items()) {
      Place place{
          .topic = topic.string_or("name", ""), .group = topic.string_or("group", ""), .left = leftover_in(topic)};
      is_topic = is_topic || place.topic == target;
      if (place.group.empty()) continue;  // nobody reads it
      if (topic.string_or("function", "") == target) of_function.push_back(place);
      if (place.topic == target) of_topic.push_back(std::move(place));
    }
  }
  if (!of_function.empty()) return of_function;
  if (is_topic) return of_topic;
  return fail(Errc::not_found, "neither a function nor a topic is called '" + target + "'");
}

}  // namespace millrace::cli
