#include "broker/nats/settings.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "broker/nats/jetstream.h"

namespace millrace::nats {
namespace {

constexpr std::size_t kShownMax = 200;  // of a setting, in a message

// What we set anew when it differs.
constexpr std::array<std::string_view, 5> kStreamsChange{"num_replicas", "max_msgs", "max_bytes", "duplicate_window",
                                                         "metadata"};
// What we never set, and what would lose, change or refuse messages of ours.
constexpr std::array<std::string_view, 12> kStreamsLack{"max_msgs_per_subject",
                                                        "discard_new_per_subject",
                                                        "no_ack",
                                                        "sealed",
                                                        "deny_delete",
                                                        "deny_purge",
                                                        "mirror",
                                                        "sources",
                                                        "subject_transform",
                                                        "consumer_limits",
                                                        "allow_msg_counter",
                                                        "persist_mode"};
constexpr std::array<std::string_view, 3> kConsumersChange{"ack_wait", "deliver_policy", "opt_start_seq"};
constexpr std::array<std::string_view, 10> kConsumersLack{
    "deliver_subject", "headers_only", "inactive_threshold", "backoff",   "mem_storage",
    "rate_limit_bps",  "max_batch",    "max_expires",        "max_bytes", "priority_policy"};

Json common(std::string name, std::vector<std::string> subjects, std::string_view retention) {
  Json list = Json::array();
  for (auto& subject : subjects) list.append(std::move(subject));
  return Json::object({{"name", std::move(name)},
                       {"subjects", std::move(list)},
                       {"retention", retention},
                       {"storage", "file"},
                       {"discard", "new"},
                       {"max_consumers", -1},
                       {"max_age", 0}});
}

Json shared(Json config, const NatsBrokerOptions& options, std::string_view what) {
  config.set("num_replicas", options.replicas);
  config.set("max_msgs", -1);
  config.set("max_bytes", -1);
  config.set("metadata", Json::object({{"millrace", what}}));
  return config;
}

bool lists(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

// As the server tells what nobody set; some it does not tell at all.
bool is_unset(const Json* value) {
  if (value == nullptr || value->is_null()) return true;
  if (value->is_object()) return value->members().empty();
  if (value->is_array()) return value->items().empty();
  return *value == Json(false) || *value == Json(0) || *value == Json(-1) || *value == Json("");
}

bool holds_all(const Json& list, const Json& some) {
  return std::ranges::all_of(some.items(), [&](const Json& each) {
    return std::ranges::any_of(list.items(), [&](const Json& other) { return other == each; });
  });
}

bool agrees(std::string_view key, const Json* there, const Json& ours) {
  if (there == nullptr) return false;
  if (key == "subjects") return holds_all(ours, *there);  // an earlier version of ours had fewer
  if (key == "filter_subjects") return holds_all(ours, *there) && holds_all(*there, ours);
  return *there == ours;
}

std::string shown(const Json* value) {
  return value == nullptr ? "not set" : value->dump().substr(0, kShownMax);
}

std::unexpected<Error> not_ours(const std::string& what, std::string_view key, const Json* there,
                                const std::string& expected) {
  return fail(Errc::failed_precondition, what + " is there with settings that are not ours: " + std::string(key) +
                                             " is " + shown(there) + ", expected " + expected +
                                             "; it was left as it is: put that right or remove it, or set nats_prefix");
}

Result<void> check(const std::string& what, const Json& there, const Json& ours,
                   std::span<const std::string_view> may_differ, std::span<const std::string_view> lacks) {
  for (const auto& member : ours.members()) {
    const Json* found = there.find(member.key);
    if (lists(may_differ, member.key) || agrees(member.key, found, member.value)) continue;
    return not_ours(what, member.key, found, shown(&member.value));
  }
  for (const auto key : lacks) {
    const Json* found = there.find(key);
    if (ours.find(key) == nullptr && !is_unset(found)) return not_ours(what, key, found, "not set");
  }
  return {};
}

}  // namespace

Json topic_stream(const Names& names, std::string_view topic) {
  return common(names.stream(topic), {names.subject(topic), names.redriven(topic, "*"), names.all_marked(topic)},
                "interest");
}

Json dead_stream(const Names& names, const NatsBrokerOptions& options) {
  Json config = shared(common(names.dead_stream(), {names.all_dead()}, "limits"), options, "dead letters");
  config.set("max_bytes", options.dead_bytes_max);
  return config;
}

Json begun_stream(const Names& names, const NatsBrokerOptions& options) {
  Json config =
      shared(common(names.begun_stream(), {names.all_begun(), names.all_turns()}, "limits"), options, "attempts");
  config.set("max_msgs_per_subject", 1);
  return config;
}

Json durable_consumer(const std::string& name, const std::vector<std::string>& filters, std::chrono::milliseconds lease,
                      std::uint64_t from) {
  Json subjects = Json::array();
  for (const auto& each : filters) subjects.append(each);
  Json config = Json::object({{"durable_name", name},
                              {"name", name},
                              {"deliver_policy", from == 0 ? "all" : "by_start_sequence"},
                              {"ack_policy", "explicit"},
                              {"ack_wait", nanoseconds(lease)},
                              {"max_deliver", -1},
                              {"max_ack_pending", -1},
                              {"filter_subjects", std::move(subjects)},
                              {"replay_policy", "instant"}});
  if (from != 0) config.set("opt_start_seq", from);
  return config;
}

Result<void> check_stream(const Json& there, const Json& ours) {
  return check("a stream '" + ours.string_or("name", "") + "'", there, ours, kStreamsChange, kStreamsLack);
}

Result<void> check_consumer(const Json& info, const Json& ours) {
  const std::string what =
      "a consumer '" + ours.string_or("name", "") + "' of stream '" + info.string_or("stream_name", "") + "'";
  const Json* config = info.find("config");
  const Json there = config == nullptr ? Json::object() : *config;
  if (auto same = check(what, there, ours, kConsumersChange, kConsumersLack); !same) return same;
  // One that was purged begins behind what there was then.
  if (const auto policy = there.string_or("deliver_policy", ""); policy != "all" && policy != "by_start_sequence") {
    return not_ours(what, "deliver_policy", there.find("deliver_policy"), "\"all\"");
  }
  if (info.bool_or("paused", false)) return not_ours(what, "paused", info.find("paused"), "false");
  return {};
}

Json changed_to(const Json& there, const Json& ours) {
  Json config = there;
  for (const auto& member : ours.members()) {
    const Json* known = there.find(member.key);
    const bool merged = known != nullptr && known->is_object() && member.value.is_object();
    config.set(member.key, merged ? changed_to(*known, member.value) : member.value);
  }
  return config;
}

bool says_all(const Json& there, const Json& wanted) {
  if (!wanted.is_object()) return there == wanted;
  return std::ranges::all_of(wanted.members(), [&](const auto& member) {
    const Json* found = there.find(member.key);
    return found != nullptr && says_all(*found, member.value);
  });
}

}  // namespace millrace::nats
