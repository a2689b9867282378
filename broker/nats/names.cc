#include "broker/nats/names.h"

#include <algorithm>
#include <array>
#include <utility>

#include "formats/identity.h"

namespace millrace::nats {
namespace {

constexpr std::string_view kForAll = "ALL";  // upper case: no group is called so
constexpr std::string_view kNoKey = "-";
constexpr std::size_t kDigestDigits = 32;
constexpr std::array<std::string_view, kPriorities> kPriorityNames{"low", "normal", "high"};

// Takes the first token off `rest`.
std::string_view next_token(std::string_view& rest) {
  const auto dot = rest.find('.');
  const auto first = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return first;
}

}  // namespace

std::string_view name_of(Priority priority) {
  return kPriorityNames[static_cast<std::size_t>(priority)];
}

std::optional<Priority> priority_of(std::string_view name) {
  const auto found = std::ranges::find(kPriorityNames, name);
  if (found == kPriorityNames.end()) return std::nullopt;
  return static_cast<Priority>(found - kPriorityNames.begin());
}

std::string key_digest(std::string_view key) {
  return identity_hash({"ordering key", key});
}

bool is_key_digest(std::string_view text) {
  return text.size() == kDigestDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

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
  return name(stream.substr(start.size()));
}

std::string Names::marked(std::string_view topic, const Mark& mark) const {
  std::string subject = prefix_ + ".k." + token(topic) + ".";
  subject += mark.group.empty() ? std::string(kForAll) : token(mark.group);
  subject += '.';
  subject += name_of(mark.priority);
  subject += '.';
  subject += mark.key.empty() ? kNoKey : std::string_view(mark.key);
  return subject;
}

std::string Names::marked_for_all(std::string_view topic) const {
  return prefix_ + ".k." + token(topic) + "." + std::string(kForAll) + ".*.*";
}

std::optional<Mark> Names::mark_of(std::string_view subject) const {
  if (!subject.starts_with(prefix_) || !subject.substr(prefix_.size()).starts_with(".k.")) return std::nullopt;
  subject.remove_prefix(prefix_.size() + 3);
  next_token(subject);  // the topic
  const auto group = next_token(subject);
  const auto priority = priority_of(next_token(subject));
  const auto key = next_token(subject);
  if (group.empty() || !priority || !subject.empty() || (key != kNoKey && !is_key_digest(key))) return std::nullopt;
  return Mark{.group = group == kForAll ? std::string() : name(group),
              .priority = *priority,
              .key = key == kNoKey ? std::string() : std::string(key)};
}

std::vector<std::string> Names::filters(std::string_view topic, std::string_view group, Priority priority) const {
  std::vector<std::string> filters;
  if (priority == Priority::normal) filters = {subject(topic), redriven(topic, group)};
  for (const std::string& whose : {std::string(kForAll), token(group)}) {
    filters.push_back(prefix_ + ".k." + token(topic) + "." + whose + "." + std::string(name_of(priority)) + ".*");
  }
  return filters;
}

std::string Names::consumer(std::string_view group, Priority priority) {
  if (priority == Priority::low) return token(group) + "-LOW";
  return priority == Priority::high ? token(group) + "-HIGH" : token(group);
}

std::optional<std::string> Names::group_of(std::string_view consumer) {
  std::string group = name(consumer);
  if (!check_topic_name(group)) return std::nullopt;
  return group;
}

std::optional<Names::News> Names::news_of(std::string_view subject) const {
  if (!subject.starts_with(prefix_) || subject.size() < prefix_.size() + 4) return std::nullopt;
  subject.remove_prefix(prefix_.size() + 1);
  News news{.kind = subject[0], .topic = {}, .group = {}, .digest = {}};
  if (subject[1] != '.' || (news.kind != 'n' && news.kind != 'p' && news.kind != 'x')) return std::nullopt;
  subject.remove_prefix(2);
  news.topic = name(next_token(subject));
  news.group = name(next_token(subject));
  news.digest = next_token(subject);
  if (!subject.empty() || (news.kind == 'n' && !is_key_digest(news.digest))) return std::nullopt;
  return news;
}

std::string Names::name(std::string_view token) {
  std::string name(token);
  std::ranges::replace(name, '=', '.');
  return name;
}

std::string Names::token(std::string_view name) {
  std::string token(name);
  std::ranges::replace(token, '.', '=');
  return token;
}

}  // namespace millrace::nats
