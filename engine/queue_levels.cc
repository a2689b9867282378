#include "engine/queue_levels.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"
#include "formats/topic_name.h"

namespace millrace {
namespace {

double seconds(std::chrono::milliseconds span) {
  return std::chrono::duration<double>(span).count();
}

void add_samples(std::vector<Metrics::Sample>& samples, const Metrics::Labels& labels, const Lag& lag) {
  const auto add = [&](const char* state, std::uint64_t count) {
    Metrics::Labels with_state = labels;
    with_state.emplace("state", state);
    samples.push_back({.labels = std::move(with_state), .value = static_cast<double>(count)});
  };
  add("pending", lag.pending);
  add("in_flight", lag.in_flight);
  add("delayed", lag.delayed);
  add("blocked", lag.blocked);
  add("dead", lag.dead);
}

}  // namespace

std::string function_of(const std::string& topic, const std::string& group) {
  const std::string& name = topic.starts_with(kWorkTopicPrefix) ? topic : group;
  return name.starts_with(kWorkTopicPrefix) ? name.substr(kWorkTopicPrefix.size()) : std::string();
}

QueueLevels::QueueLevels(EventLoop& loop, Broker& broker, Metrics& metrics)
    : loop_(loop),
      broker_(broker),
      metrics_(metrics),
      left_out_(metrics.gauge("millrace_queue_groups_left_out", "groups of topics that are too many to be shown")),
      asking_(loop, 1),
      background_(loop) {}

Task<Result<void>> QueueLevels::refresh() {
  const bool fresh = asked_at_ && loop_.now() - *asked_at_ < kFresh;
  if (!fresh && background_.size() == 0) background_.spawn(look());
  const Deadline deadline(loop_, kPatience);
  const auto turn = co_await asking_.acquire(1, deadline.token());
  if (!turn) co_return fail(Errc::deadline_exceeded, "the broker has not told all of them yet; it is asked on");
  co_return told_;
}

Task<void> QueueLevels::look() {
  const auto turn = co_await asking_.acquire(1);
  const auto trouble = broker_.trouble();
  if (trouble && trouble->code == Errc::unavailable) {
    told_ = fail(*trouble);  // questions to one that is away would wait for it
  } else {
    told_ = co_await ask();
    asked_at_ = loop_.now();
  }
  if (!told_) levels_.clear();
  show();
}

Task<Result<void>> QueueLevels::ask() {
  const auto names = co_await broker_.topics();
  if (!names) co_return fail(names.error());
  std::erase_if(levels_, [&](const auto& known) { return !std::ranges::binary_search(*names, known.first); });
  std::size_t asked = 0;
  auto topic = std::ranges::lower_bound(*names, next_);
  for (std::size_t n = 0; n < names->size() && asked < kAskedMax; ++n, ++topic) {
    if (topic == names->end()) topic = names->begin();
    const auto told = co_await ask_topic(*topic, asked);
    if (!told) co_return told;
  }
  next_ = topic == names->end() ? std::string() : *topic;
  co_return Result<void>();
}

// Of a work topic its one group is known.
Task<Result<void>> QueueLevels::ask_topic(std::string topic, std::size_t& asked) {
  std::vector<std::string> groups;
  if (is_user_topic_name(topic)) {
    ++asked;
    auto info = co_await broker_.describe(topic);
    if (!info && info.error().code != Errc::not_found) co_return fail(info.error());
    if (info) groups = std::move(info->spec.groups);
  } else {
    groups.emplace_back(kWorkersGroup);
  }
  std::ranges::sort(groups);
  std::vector<Level> levels;
  for (auto& group : groups) {
    ++asked;
    const auto lag = co_await broker_.lag(topic, group);
    if (!lag && lag.error().code == Errc::not_found) continue;  // it went meanwhile
    if (!lag) co_return fail(lag.error());
    levels.push_back({.group = std::move(group), .lag = *lag});
  }
  levels_.insert_or_assign(std::move(topic), std::move(levels));
  co_return Result<void>();
}

void QueueLevels::show() {
  std::vector<Metrics::Sample> messages;
  std::vector<Metrics::Sample> oldest;
  std::size_t left_out = 0;
  for (const auto& [topic, groups] : levels_) {
    for (const auto& level : groups) {
      if (oldest.size() >= kShownMax) {
        ++left_out;
        continue;
      }
      const Metrics::Labels labels{
          {"topic", topic}, {"group", level.group}, {"function", function_of(topic, level.group)}};
      add_samples(messages, labels, level.lag);
      oldest.push_back({.labels = labels, .value = seconds(level.lag.oldest)});
    }
  }
  metrics_.replace("millrace_queue_messages", "events in a group of a topic by state, dead letters included",
                   std::move(messages));
  metrics_.replace("millrace_queue_oldest_seconds", "age of a group's oldest event that is not dead",
                   std::move(oldest));
  left_out_.set(static_cast<std::int64_t>(left_out));
}

std::optional<std::uint64_t> QueueLevels::waiting_for(const std::string& function) const {
  std::optional<std::uint64_t> waiting;
  for (const auto& [topic, groups] : levels_) {
    for (const auto& level : groups) {
      if (!function.empty() && function_of(topic, level.group) != function) continue;
      if (function_of(topic, level.group).empty()) continue;
      waiting = waiting.value_or(0) + level.lag.pending + level.lag.delayed + level.lag.blocked;
    }
  }
  return waiting;
}

}  // namespace millrace
