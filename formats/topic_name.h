// Names of topics, as authors, publishers and brokers agree on them.
#pragma once

#include <string_view>

namespace millrace {

// 1 to 200 characters of [a-z0-9._-], not starting with '.'.
[[nodiscard]] constexpr bool is_topic_name(std::string_view text) {
  return !text.empty() && text.size() <= 200 && text.front() != '.' &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") == std::string_view::npos;
}

// Of functions, ours: what begins like that is no user's topic.
inline constexpr std::string_view kWorkTopicPrefix = "fn.";

[[nodiscard]] constexpr bool is_user_topic_name(std::string_view text) {
  return is_topic_name(text) && !text.starts_with(kWorkTopicPrefix);
}

}  // namespace millrace
