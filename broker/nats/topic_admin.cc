#include "broker/nats/topic_admin.h"

#include <chrono>
#include <utility>

namespace millrace::nats {
namespace {

void read_config(const Json& config, TopicSpec& spec) {
  if (const auto bytes = config.int_or("max_bytes", -1); bytes > 0) spec.bytes_max = static_cast<std::uint64_t>(bytes);
  if (const auto messages = config.int_or("max_msgs", -1); messages > 0) {
    spec.messages_max = static_cast<std::uint64_t>(messages);
  }
  const auto window = std::chrono::nanoseconds(config.int_or("duplicate_window", nanoseconds(spec.dedupe_window)));
  spec.dedupe_window = std::chrono::duration_cast<std::chrono::milliseconds>(window);
}

}  // namespace

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
    described.published = state->uint_or("last_seq", 0);
  }
  auto groups = co_await core.groups_of(**found);
  if (!groups) co_return fail(groups.error());
  described.spec.groups = std::move(*groups);
  co_return described;
}

}  // namespace millrace::nats
