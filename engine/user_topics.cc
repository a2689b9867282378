#include "engine/user_topics.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "formats/topic_name.h"

namespace millrace {

std::vector<WorkPlace> work_places(const FunctionSpec& function) {
  std::vector<WorkPlace> places{{.topic = work_topic(function.name), .group = std::string(kWorkersGroup)}};
  for (const auto& input : function.topics) {
    places.push_back({.topic = input.topic, .group = function_group(function.name)});
  }
  return places;
}

Task<Result<Lag>> lag_of(Broker& broker, std::shared_ptr<const FunctionSpec> function) {
  Lag sum;
  for (const auto& place : work_places(*function)) {
    const auto lag = co_await broker.lag(place.topic, place.group);
    if (!lag && lag.error().code == Errc::not_found) continue;  // a function that is not ready has no topic yet
    if (!lag) co_return fail(lag.error());
    sum.pending += lag->pending;
    sum.in_flight += lag->in_flight;
    sum.delayed += lag->delayed;
    sum.blocked += lag->blocked;
    sum.dead += lag->dead;
    sum.oldest = std::max(sum.oldest, lag->oldest);
    sum.overdue = sum.overdue || lag->overdue;
  }
  co_return sum;
}

Result<void> check_user_topic(std::string_view topic) {
  if (auto ok = check_topic_name(topic); !ok) return ok;
  if (is_user_topic_name(topic)) return {};
  const std::string name(topic);
  return fail(Errc::invalid_argument, "'" + name + "' is the work topic of a function, which is ours; invoke '" +
                                          name.substr(kWorkTopicPrefix.size()) + "' instead");
}

Task<Result<bool>> UserTopics::make(std::string topic, TopicBounds bounds) const {
  if (auto ok = check_user_topic(topic); !ok) co_return fail(ok.error());
  auto found = co_await broker_.describe(topic);
  if (!found && found.error().code != Errc::not_found) co_return fail(found.error());
  const bool made = !found;
  TopicSpec spec;
  if (found) spec = std::move(found->spec);
  spec.name = std::move(topic);
  const TopicSpec before = spec;
  spec.lease = lease_;
  spec.bytes_max = bounds.bytes_max.value_or(spec.bytes_max);
  spec.messages_max = bounds.messages_max.value_or(spec.messages_max);
  for (auto& reader : bounds.readers) {
    if (reader.starts_with(kWorkTopicPrefix)) {
      co_return fail(Errc::invalid_argument, "'" + reader + "' is the group of a function, which is ours");
    }
    if (std::ranges::find(spec.groups, reader) == spec.groups.end()) spec.groups.push_back(std::move(reader));
  }
  if (!made && spec == before) co_return false;
  const auto ensured = co_await broker_.ensure(std::move(spec));
  if (!ensured) co_return fail(ensured.error());
  co_return made;
}

// Most topics are there: that is found out by publishing.
Task<std::vector<Result<Receipt>>> UserTopics::publish(std::string topic, std::vector<Outgoing> batch) const {
  if (auto ok = check_user_topic(topic); !ok) co_return std::vector<Result<Receipt>>(batch.size(), fail(ok.error()));
  auto receipts = co_await broker_.publish(topic, batch);
  const auto is_missing = [](const Result<Receipt>& receipt) {
    return !receipt && receipt.error().code == Errc::not_found;
  };
  if (!std::ranges::any_of(receipts, is_missing)) co_return receipts;
  const auto made = co_await make(topic);
  if (!made) co_return std::vector<Result<Receipt>>(batch.size(), fail(made.error()));
  // What was confirmed before is known by its id.
  receipts = co_await broker_.publish(std::move(topic), std::move(batch));
  co_return receipts;
}

Task<Result<void>> UserTopics::join(std::string function, TopicInputSpec input) const {
  auto made = co_await make(input.topic);
  if (!made) co_return fail(made.error());
  auto found = co_await broker_.describe(input.topic);
  if (!found) co_return fail(found.error());
  const std::string group = function_group(function);
  TopicSpec& spec = found->spec;
  if (std::ranges::find(spec.groups, group) != spec.groups.end()) co_return Result<void>{};
  spec.groups.push_back(group);
  auto ensured = co_await broker_.ensure(std::move(spec));
  if (!ensured || input.from_start) co_return ensured;
  auto purged = co_await broker_.purge(input.topic, group);
  co_return purged;
}

Task<Result<void>> UserTopics::leave(std::string function, std::string topic) const {
  auto removed = co_await broker_.remove_group(std::move(topic), function_group(function));
  if (!removed && removed.error().code == Errc::not_found) co_return Result<void>{};
  co_return removed;
}

Task<Result<void>> UserTopics::drop_orphans(Functions functions) const {
  const auto topics = co_await broker_.topics();
  if (!topics) co_return fail(topics.error());
  std::vector<WorkPlace> found;
  for (const auto& topic : *topics) {
    if (!is_user_topic_name(topic)) continue;
    auto info = co_await broker_.describe(topic);
    if (!info && info.error().code == Errc::not_found) continue;  // it went meanwhile
    if (!info) co_return fail(info.error());
    for (auto& group : info->spec.groups) {
      if (group.starts_with(kWorkTopicPrefix)) found.push_back({.topic = topic, .group = std::move(group)});
    }
  }
  if (found.empty()) co_return Result<void>{};
  const auto known = co_await functions();
  if (!known) co_return fail(known.error());
  for (const auto& place : found) {
    const bool is_read = std::ranges::any_of(*known, [&place](const FunctionSpec& function) {
      return function_group(function.name) == place.group &&
             std::ranges::find(function.topics, place.topic, &TopicInputSpec::topic) != function.topics.end();
    });
    if (is_read) continue;
    const auto removed = co_await broker_.remove_group(place.topic, place.group);
    if (!removed && removed.error().code != Errc::not_found) co_return fail(removed.error());
  }
  co_return Result<void>{};
}

}  // namespace millrace
