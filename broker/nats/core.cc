#include "broker/nats/core.h"

#include <algorithm>
#include <utility>

#include "broker/nats/group.h"
#include "broker/nats/nats_delivery.h"
#include "core/ids.h"

namespace millrace::nats {
namespace {

constexpr std::chrono::seconds kPullWatch{10};
constexpr const char* kLease = "millrace-lease-ms";
constexpr const char* kOverdue = "millrace-overdue-ms";

// The delivery may be gone, or another one be in its place, when the answer comes.
Task<void> renew(Core& core, Group& group, std::uint64_t seq, std::string owner, Packet record) {
  const auto written = co_await core.jetstream.publish(core.names.begun_stream(), std::move(record));
  NatsDelivery* delivery = group.find_held(seq);
  if (delivery != nullptr && delivery->owner() == owner) delivery->renewed(written);
}

std::chrono::milliseconds span_of(const Json& metadata, const char* name, std::chrono::milliseconds fallback) {
  const std::string text = metadata.string_or(name, "");
  if (text.empty() || text.size() > 15 || text.find_first_not_of("0123456789") != std::string::npos) return fallback;
  return std::chrono::milliseconds(std::stoll(text));
}

}  // namespace

Core::Core(EventLoop& event_loop, Metrics& metrics, Log& the_log, NatsBrokerOptions broker_options, Names the_names,
           std::unique_ptr<Link> the_link)
    : loop(event_loop),
      log(the_log),
      options(std::move(broker_options)),
      names(std::move(the_names)),
      life(random_hex(8)),
      link(std::move(the_link)),
      jetstream(loop, *link, options),
      flight(loop, options.flight_bytes_max),
      background(loop),
      published(metrics.counter("millrace_broker_published_total", "messages published, repeats not counted")),
      duplicates(metrics.counter("millrace_broker_duplicates_total", "publishes of an id that was known")),
      dropped(metrics.counter("millrace_broker_dropped_deliveries_total", "deliveries dropped without a verdict")),
      leases_lost(metrics.counter("millrace_broker_leases_lost_total", "deliveries whose lease ran out")),
      losses(metrics.counter("millrace_broker_losses_total", "attempts that vanished without an outcome")),
      refused(
          metrics.counter("millrace_broker_refused_total", "publishes refused because a bound or the disk is full")) {
  link->on_reconnected([this] { reconnected(); });
  watch_pulls();
}

Core::~Core() = default;

Result<void> Core::usable() const {
  if (closed_) return fail(Errc::unavailable, "the broker is closed");
  return {};
}

Task<Result<Assessment>> Core::prepare() {
  const auto common = [this](const std::string& name, const std::string& subjects) {
    return Json::object({{"name", name},
                         {"subjects", Json::array({subjects})},
                         {"retention", "limits"},
                         {"storage", "file"},
                         {"discard", "new"},
                         {"num_replicas", options.replicas},
                         {"max_consumers", -1},
                         {"max_msgs", -1},
                         {"max_bytes", -1},
                         {"max_age", 0}});
  };
  Json dead = common(names.dead_stream(), names.all_dead());
  dead.set("max_bytes", options.dead_bytes_max);
  dead.set("metadata", Json::object({{"millrace", "dead letters"}}));
  Json begun = common(names.begun_stream(), names.all_begun());
  begun.set("max_msgs_per_subject", 1);
  begun.set("metadata", Json::object({{"millrace", "attempts"}}));
  auto made = co_await jetstream.ensure_stream(names.dead_stream(), std::move(dead));
  if (!made) co_return fail(made.error().with("make the stream of dead letters"));
  made = co_await jetstream.ensure_stream(names.begun_stream(), std::move(begun));
  if (!made) co_return fail(made.error().with("make the stream of attempts"));
  Result<bool> syncs = false;
  if (!options.monitor_url.empty()) syncs = co_await ask_monitor(loop, options.monitor_url);
  co_return assess(made->answer, options, syncs);
}

Task<Result<Topic*>> Core::find(std::string topic) {
  if (auto ok = usable(); !ok) co_return fail(ok.error());
  const auto known = topics_.find(topic);
  if (known != topics_.end()) co_return known->second.get();
  if (!check_topic_name(topic)) {
    co_return fail(Errc::not_found, "topic '" + topic.substr(0, 200) + "' does not exist");
  }
  auto info = co_await jetstream.call("STREAM.INFO." + names.stream(topic));
  if (!info && info.error().code == Errc::not_found) {
    co_return fail(Errc::not_found, "topic '" + topic + "' does not exist");
  }
  if (!info) co_return fail(info.error());
  Topic& found = remember(topic);
  const Json* config = info->find("config");
  const Json* metadata = config == nullptr ? nullptr : config->find("metadata");
  const TopicSpec defaults;
  found.lease = metadata == nullptr ? defaults.lease : span_of(*metadata, kLease, defaults.lease);
  found.overdue_after =
      metadata == nullptr ? defaults.overdue_after : span_of(*metadata, kOverdue, defaults.overdue_after);
  co_return &found;
}

Topic& Core::remember(const std::string& topic) {
  auto& slot = topics_[topic];
  if (!slot) {
    slot = std::make_unique<Topic>();
    slot->name = topic;
  }
  return *slot;
}

bool Core::is_ensured(const TopicSpec& spec) const {
  const auto known = topics_.find(spec.name);
  return known != topics_.end() && known->second->ensured == spec;
}

bool Core::has_subscriber(const std::string& topic) const {
  const auto known = topics_.find(topic);
  return known != topics_.end() &&
         std::ranges::any_of(known->second->groups, [](const auto& each) { return each.second->has_subscriber(); });
}

void Core::forget(const std::string& topic) {
  const auto known = topics_.find(topic);
  if (known != topics_.end()) known->second->ensured.reset();
}

Task<Result<Group*>> Core::find(std::string topic, std::string group, bool make) {
  auto found = co_await find(std::move(topic));
  if (!found) co_return fail(found.error());
  const auto known = (*found)->groups.find(group);
  if (known != (*found)->groups.end()) co_return known->second.get();
  if (make) {
    auto made = co_await make_group(**found, std::move(group));
    co_return made;
  }
  const bool good = check_topic_name(group).has_value();
  Result<Json> info = fail(Errc::not_found, "");
  if (good)
    info = co_await jetstream.call("CONSUMER.INFO." + names.stream((*found)->name) + "." + Names::consumer(group));
  if (!info && info.error().code == Errc::not_found) {
    co_return fail(Errc::not_found, "topic '" + (*found)->name + "' has no group '" + group.substr(0, 200) + "'");
  }
  if (!info) co_return fail(info.error());
  co_return &add_group(**found, group);
}

Task<Result<Group*>> Core::make_group(Topic& topic, std::string group) {
  if (auto ok = check_topic_name(group); !ok) co_return fail(ok.error().with("the name of a group"));
  const std::string stream = names.stream(topic.name);
  auto made = co_await adopt_consumer(topic, group);
  if (!made && made.error().code == Errc::not_found) made = co_await make_consumer(topic, group, 0);
  if (!made) co_return fail(made.error().with("make the group '" + group + "' of topic '" + topic.name + "'"));
  const auto known = topic.groups.find(group);
  if (known != topic.groups.end()) co_return known->second.get();
  // What waited for the first group is held by it now.
  auto kept = co_await jetstream.call("CONSUMER.DELETE." + stream + "." + std::string(kKeeper));
  if (!kept && kept.error().code != Errc::not_found) co_return fail(kept.error());
  co_return &add_group(topic, group);
}

// One that is there stays as it is, but for its lease: where it begins cannot be changed.
Task<Result<void>> Core::adopt_consumer(const Topic& topic, std::string group) {
  const std::string consumer = names.stream(topic.name) + "." + Names::consumer(group);
  auto info = co_await jetstream.call("CONSUMER.INFO." + consumer);
  if (!info) co_return fail(info.error());
  const Json* found = info->find("config");
  Json config = found == nullptr ? Json() : *found;
  if (config.string_or("ack_policy", "") != "explicit" || config.int_or("max_deliver", -1) != -1 ||
      config.find("deliver_subject") != nullptr) {
    co_return fail(Errc::failed_precondition,
                   "a consumer of that name is there with settings that are not ours: remove it, or set nats_prefix");
  }
  if (config.int_or("ack_wait", 0) == nanoseconds(topic.lease)) co_return Result<void>{};
  config.set("ack_wait", nanoseconds(topic.lease));
  auto updated =
      co_await jetstream.call("CONSUMER.CREATE." + consumer,
                              Json::object({{"stream_name", names.stream(topic.name)}, {"config", std::move(config)}}));
  if (!updated) co_return fail(updated.error());
  co_return Result<void>{};
}

Task<Result<void>> Core::make_consumer(const Topic& topic, std::string group, std::uint64_t from) {
  const std::string stream = names.stream(topic.name);
  const bool keeper = group == kKeeper;
  const std::string consumer = keeper ? group : Names::consumer(group);
  Json subjects = Json::array({names.subject(topic.name)});
  if (!keeper) subjects.append(names.redriven(topic.name, group));
  Json config = Json::object({{"durable_name", consumer},
                              {"name", consumer},
                              {"deliver_policy", from == 0 ? "all" : "by_start_sequence"},
                              {"ack_policy", "explicit"},
                              {"ack_wait", nanoseconds(topic.lease)},
                              {"max_deliver", -1},
                              {"max_ack_pending", -1},
                              {"filter_subjects", std::move(subjects)},
                              {"replay_policy", "instant"}});
  if (from != 0) config.set("opt_start_seq", from);
  auto made = co_await jetstream.call("CONSUMER.CREATE." + stream + "." + consumer,
                                      Json::object({{"stream_name", stream}, {"config", std::move(config)}}));
  if (!made) co_return fail(made.error());
  co_return Result<void>{};
}

Group& Core::add_group(Topic& topic, const std::string& group) {
  auto& slot = topic.groups[group];
  if (!slot) slot = std::make_unique<Group>(*this, topic, group);
  return *slot;
}

void Core::tell_backlog(const std::string& topic) {
  if (!backlog_changed || std::ranges::find(backlog_, topic) != backlog_.end()) return;
  backlog_.push_back(topic);
  if (backlog_.size() > 1) return;
  loop.post([weak = weak_from_this()] {
    const auto core = weak.lock();
    if (!core) return;
    for (const auto& each : std::exchange(core->backlog_, {})) {
      if (core->backlog_changed) core->backlog_changed(each);
    }
  });
}

// Those whose leases may have ended meanwhile are renewed before anybody else begins their messages.
void Core::reconnected() {
  for (const auto& [name, topic] : topics_) {
    for (const auto& [group_name, group] : topic->groups) {
      for (const auto& [seq, delivery] : group->held()) {
        auto record = delivery->renewal();
        if (record) background.spawn(renew(*this, *group, seq, delivery->owner(), std::move(*record)));
      }
      group->reconnected();
      if (group->has_subscriber()) tell_backlog(name);
    }
  }
}

void Core::watch_pulls() {
  pull_watch_ = loop.start_timer(kPullWatch, [this] {
    for (const auto& [name, topic] : topics_) {
      for (const auto& [group_name, group] : topic->groups) group->check_pulls();
    }
    watch_pulls();
  });
}

Task<void> Core::close() {
  if (closing_) co_return;
  closing_ = true;
  pull_watch_.reset();
  std::vector<NatsDelivery::Abandoned> abandoned;
  for (const auto& [name, topic] : topics_) {
    for (const auto& [group_name, group] : topic->groups) {
      for (const auto& [seq, delivery] : group->held()) {
        if (auto each = delivery->abandon()) abandoned.push_back(std::move(*each));
      }
    }
  }
  for (auto& each : abandoned) {
    if (!each.record || !link->connected()) continue;
    const auto written = co_await jetstream.publish(names.begun_stream(), std::move(*each.record));
    if (written) losses.add();
  }
  for (const auto& each : abandoned) {
    [[maybe_unused]] const bool sent = link->send({.subject = each.ack_subject, .data = Group::nak_text({})});
  }
  end();
  co_await link->close();
}

void Core::end() {
  closed_ = true;
  backlog_changed = nullptr;
  for (const auto& [name, topic] : topics_) {
    for (const auto& [group_name, group] : topic->groups) {
      group->waits.wake_all();
      group->lose_all();
    }
  }
  for (WaitList* each : credit_waits) each->wake_all();
}

void Core::crash() {
  if (closing_) return;
  closing_ = true;
  pull_watch_.reset();
  link->abandon();
  end();
}

}  // namespace millrace::nats
