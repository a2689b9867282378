#include "broker/nats/names.h"

#include <algorithm>

namespace millrace::nats {

Result<Names> Names::make(std::string prefix) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789_";
  if (prefix.empty() || prefix.size() > 32 || prefix.find_first_not_of(kAllowed) != std::string::npos) {
    return fail(Errc::invalid_argument,
                "'" + prefix.substr(0, 64) + "' cannot be the prefix of streams; expected 1 to 32 of a-z, 0-9 and '_'");
  }
  return Names(std::move(prefix));
}

std::optional<std::string> Names::topic_of(std::string_view stream) const {
  const std::string start = prefix_ + "-t-";
  if (!stream.starts_with(start)) return std::nullopt;
  std::string topic(stream.substr(start.size()));
  std::ranges::replace(topic, '=', '.');
  return topic;
}

std::string Names::token(std::string_view name) {
  std::string token(name);
  std::ranges::replace(token, '.', '=');
  return token;
}

}  // namespace millrace::nats
