#include "broker/broker.h"

#include <algorithm>

namespace millrace {

std::string_view name_of(Durability durability) {
  switch (durability) {
    case Durability::memory: return "memory";
    case Durability::page_cache: return "page_cache";
    case Durability::synced: return "synced";
    case Durability::replicated: return "replicated";
  }
  return "unknown";
}

Result<void> check_topic_name(std::string_view topic) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  if (topic.empty() || topic.size() > 200 || topic.front() == '.' ||
      topic.find_first_not_of(kAllowed) != std::string_view::npos) {
    return fail(Errc::invalid_argument,
                "'" + std::string(topic.substr(0, 64)) +
                    "' is not a topic name; expected 1 to 200 of a-z, 0-9, '.', '_' and '-', not starting with '.'");
  }
  return {};
}

std::string work_topic(std::string_view function) {
  return "fn." + std::string(function);
}

}  // namespace millrace
