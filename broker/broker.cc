#include "broker/broker.h"

#include "formats/topic_name.h"

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
  if (!is_topic_name(topic)) {
    return fail(Errc::invalid_argument,
                "'" + std::string(topic.substr(0, 64)) +
                    "' is not a topic name; expected 1 to 200 of a-z, 0-9, '.', '_' and '-', not starting with '.'");
  }
  return {};
}

Task<Result<std::vector<WaitingMessage>>> Broker::waiting(std::string, std::string, std::string, std::size_t) {
  co_return fail(Errc::unimplemented, "this broker does not tell which messages wait");
}

std::string function_group(std::string_view function) {
  return work_topic(function);
}

std::string work_topic(std::string_view function) {
  return std::string(kWorkTopicPrefix) + std::string(function);
}

}  // namespace millrace
