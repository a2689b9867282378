#include "cli/places.h"

#include <utility>

namespace millrace::cli {

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
      Place place{.topic = topic.string_or("name", ""),
                  .group = topic.string_or("group", ""),
                  .waiting = topic.uint_or("pending", 0) + topic.uint_or("delayed", 0) + topic.uint_or("blocked", 0),
                  .in_flight = topic.uint_or("in_flight", 0),
                  .dead = topic.uint_or("dead", 0)};
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
