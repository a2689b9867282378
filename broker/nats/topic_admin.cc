#include "broker/nats/topic_admin.h"

#include <chrono>
#include <utility>
#include <vector>

#include "async/sleep.h"
#include "broker/nats/group.h"
#include "broker/nats/watching.h"

namespace millrace::nats {
namespace {

constexpr std::chrono::milliseconds kLookPause{1000};

void read_config(const Json& config, TopicSpec& spec) {
  if (const auto bytes = config.int_or("max_bytes", -1); bytes > 0) spec.bytes_max = static_cast<std::uint64_t>(bytes);
  if (const auto messages = config.int_or("max_msgs", -1); messages > 0) {
    spec.messages_max = static_cast<std::uint64_t>(messages);
  }
  const auto window = std::chrono::nanoseconds(config.int_or("duplicate_window", nanoseconds(spec.dedupe_window)));
  spec.dedupe_window = std::chrono::duration_cast<std::chrono::milliseconds>(window);
}

// Clears what stands under `filters` and was there when `last` was the stream's newest number: what is written later is
// of a topic that was made again.
Task<Result<void>> purge(Core& core, std::string stream, std::vector<std::string> filters, std::uint64_t last) {
  for (auto& filter : filters) {
    auto purged = co_await core.jetstream.call("STREAM.PURGE." + stream,
                                               Json::object({{"filter", std::move(filter)}, {"seq", last + 1}}));
    if (!purged) co_return fail(purged.error());
  }
  co_return Result<void>{};
}

Task<Result<std::uint64_t>> last_of(Core& core, std::string stream) {
  auto info = co_await core.jetstream.call("STREAM.INFO." + stream);
  if (!info) co_return fail(info.error());
  const Json* state = info->find("state");
  co_return state == nullptr ? 0 : state->uint_or("last_seq", 0);
}

}  // namespace

Task<Result<void>> remove_topic(Core& core, std::string topic) {
  const auto found = co_await core.find(topic);
  if (!found) co_return fail(found.error());
  const Names& names = core.names;
  const auto info = co_await core.jetstream.call("STREAM.INFO." + names.stream(topic));
  if (info) {  // somebody may have put another one in its place since it was found
    if (auto ours = core.check_is_ours(topic, *info); !ours) co_return ours;
  }
  const auto last_dead = co_await last_of(core, names.dead_stream());
  if (!last_dead) co_return fail(last_dead.error());
  const auto last_begun = co_await last_of(core, names.begun_stream());
  if (!last_begun) co_return fail(last_begun.error());
  const auto gone = co_await core.jetstream.call("STREAM.DELETE." + names.stream(topic));
  const bool missing = !gone && gone.error().code == Errc::not_found;
  if (!gone && !missing) co_return fail(gone.error().with("remove the topic '" + topic + "'"));
  core.removed(**found, true);
  [[maybe_unused]] const bool told = core.link->send({.subject = names.removed(topic)});
  // Also when it was gone already: somebody may have been interrupted here.
  auto purged = co_await purge(core, names.dead_stream(), {names.dead(topic, "*")}, *last_dead);
  if (!purged) co_return purged;
  purged =
      co_await purge(core, names.begun_stream(), {names.begun_of(topic, "*"), names.turns_of(topic, "*")}, *last_begun);
  if (!purged) co_return purged;
  if (missing) co_return fail(Errc::not_found, "topic '" + topic + "' does not exist");
  co_return Result<void>{};
}

void Core::removed(Topic& topic, bool here) {
  topic.ensured.reset();
  topic.created.clear();
  topic.prioritized = false;
  for (const auto& [name, group] : topic.groups) group->topic_removed(here);
  const auto watched = watchings;
  for (const auto& watching : watched) {
    if (watching->topic() == topic.name) watching->topic_removed();
  }
}

void Core::look_at_unsure() {
  if (!unsure_.empty() && !std::exchange(looking_at_topics_, true)) background.spawn(look_at_topics());
}

// Whether somebody removed a topic or gave it priorities while we did not hear it. One after the other: there may be
// many.
Task<void> Core::look_at_topics() {
  for (;;) {
    for (const auto& name : std::exchange(unsure_, {})) {
      co_await look_at_topic(name);
      if (closed_) co_return;
    }
    if (unsure_.empty()) break;
    // Nobody answered for these, or we were cut off once more.
    const auto slept = co_await sleep_for(loop, kLookPause);
    if (!slept || closed_) co_return;
  }
  looking_at_topics_ = false;
}

Task<void> Core::look_at_topic(std::string name) {
  const auto info = co_await jetstream.call("STREAM.INFO." + names.stream(name));
  const auto topic = topics_.find(name);
  if (closed_ || topic == topics_.end()) co_return;
  if (info) {
    learn(*topic->second, *info);
  } else if (info.error().code == Errc::not_found) {
    removed(*topic->second, false);
  } else {
    unsure_.insert(std::move(name));
    look_at_unsure();
  }
}

Task<Result<TopicInfo>> describe(Core& core, std::string topic) {
  auto found = co_await core.find(topic);
  if (!found) co_return fail(found.error());
  const std::string stream = core.names.stream(topic);
  auto info = co_await core.jetstream.call("STREAM.INFO." + stream);
  if (!info && info.error().code == Errc::not_found) {
    core.forget(topic);
    co_return fail(Errc::not_found, "topic '" + topic + "' does not exist");
  }
  if (!info) co_return fail(info.error());
  TopicInfo described;
  described.spec.name = std::move(topic);
  core.learn(**found, *info);
  described.spec.lease = (*found)->lease;
  described.spec.overdue_after = (*found)->overdue_after;
  if (const Json* config = info->find("config")) read_config(*config, described.spec);
  if (const Json* state = info->find("state")) {
    described.messages = state->uint_or("messages", 0);
    const Json* config = info->find("config");
    const std::uint64_t first = config == nullptr ? 0 : config->uint_or("first_seq", 0);
    described.published = state->uint_or("last_seq", 0) - (first == 0 ? 0 : first - 1);
  }
  auto groups = co_await core.groups_of(**found);
  if (!groups) co_return fail(groups.error());
  described.spec.groups = std::move(*groups);
  co_return described;
}

}  // namespace millrace::nats
