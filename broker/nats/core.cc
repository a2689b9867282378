#include "broker/nats/core.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"
#include "broker/nats/group.h"
#include "broker/nats/nats_delivery.h"
#include "broker/nats/settings.h"
#include "broker/nats/watching.h"
#include "core/ids.h"

namespace millrace::nats {
namespace {

constexpr std::chrono::seconds kPullWatch{10};
constexpr std::chrono::milliseconds kLookAgain{500};
constexpr const char* kLease = "millrace-lease-ms";
constexpr const char* kOverdue = "millrace-overdue-ms";
constexpr const char* kHasPriorities = "millrace-priorities";
constexpr std::uint64_t kPageItemsMax = 1U << 20;  // a server that never comes to an end is none

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
          metrics.counter("millrace_broker_refused_total", "publishes refused because a bound or the disk is full")),
      arrivals_dropped(
          metrics.counter("millrace_nats_arrivals_dropped_total",
                          "messages of a NATS server thrown away because too many waited; they come again")),
      reconnects(metrics.counter("millrace_nats_reconnects_total", "connections to NATS servers that were made again")),
      prioritizing_(loop, 1) {
  link->on_reconnected([this] { reconnected(); });
  link->on_news([this](const Message& news) { hear(news); });
  link->on_dropped([this](std::size_t count) {
    arrivals_dropped.add(count);
    all_anew();
  });
  watch_pulls();
}

Core::~Core() = default;

Result<void> Core::usable() const {
  if (closed_) return fail(Errc::unavailable, "the broker is closed");
  if (lost_) return fail(*lost_);
  return {};
}

Task<Result<Assessment>> Core::prepare() {
  auto made = co_await jetstream.ensure_stream(names.dead_stream(), nats::dead_stream(names, options));
  if (!made) co_return fail(made.error().with("make the stream of dead letters"));
  made = co_await jetstream.ensure_stream(names.begun_stream(), nats::begun_stream(names, options));
  if (!made) co_return fail(made.error().with("make the stream of attempts"));
  Result<bool> syncs = false;
  store_ = made->answer.string_or("created", "");
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
  if (auto ours = check_is_ours(topic, *info); !ours) co_return fail(ours.error());
  Topic& found = remember(topic);
  learn(found, *info);
  co_return &found;
}

Result<void> Core::check_is_ours(const std::string& topic, const Json& stream) const {
  const Json* config = stream.find("config");
  auto ours = check_stream(config == nullptr ? Json::object() : *config, topic_stream(names, topic));
  if (!ours) return fail(ours.error().with("use the topic '" + topic + "' at " + shown_nats_url(options.url)));
  return ours;
}

void Core::learn(Topic& topic, const Json& stream) {
  std::string created = stream.string_or("created", "");
  if (!topic.created.empty() && topic.created != created) removed(topic, false);  // another one of its name
  topic.created = std::move(created);
  const Json* config = stream.find("config");
  const Json* found = config == nullptr ? nullptr : config->find("metadata");
  const Json metadata = found == nullptr ? Json::object() : *found;
  const TopicSpec defaults;
  topic.lease = span_of(metadata, kLease, defaults.lease);
  topic.overdue_after = span_of(metadata, kOverdue, defaults.overdue_after);
  if (metadata.find(kHasPriorities) != nullptr) note_prioritized(topic);
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
  if (make) {
    auto made = co_await make_group(**found, std::move(group));
    co_return made;
  }
  const auto known = (*found)->groups.find(group);
  if (known != (*found)->groups.end() && !known->second->is_removed()) co_return known->second.get();
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
  // Also of one that is known: somebody may have put another consumer in its place since.
  auto made = co_await adopt_or_make(topic, group, Priority::normal);
  if (!made) co_return fail(made.error());
  const auto known = topic.groups.find(group);
  if (known != topic.groups.end() && !known->second->is_removed()) {
    if (topic.prioritized) made = co_await make_lanes(topic, group);
    if (!made) co_return fail(made.error());
    co_return known->second.get();
  }
  // Whoever gives the topic priorities first says so and then looks for groups; so one of the two sees the other.
  const std::string stream = names.stream(topic.name);
  auto info = co_await jetstream.call("STREAM.INFO." + stream);
  if (!info) co_return fail(info.error());
  learn(topic, *info);
  if (topic.prioritized) made = co_await make_lanes(topic, group);
  if (!made) co_return fail(made.error());
  // What waited for the first group is held by it now.
  auto kept = co_await jetstream.call("CONSUMER.DELETE." + stream + "." + std::string(kKeeper));
  if (!kept && kept.error().code != Errc::not_found) co_return fail(kept.error());
  co_return &add_group(topic, group);
}

Task<Result<void>> Core::make_lanes(const Topic& topic, std::string group) {
  for (const Priority priority : {Priority::high, Priority::low}) {
    auto made = co_await adopt_or_make(topic, group, priority);
    if (!made) co_return made;
  }
  co_return Result<void>{};
}

Task<Result<void>> Core::adopt_or_make(const Topic& topic, std::string group, Priority priority) {
  auto made = co_await adopt_consumer(topic, group, priority);
  if (!made && made.error().code == Errc::not_found) made = co_await make_consumer(topic, group, priority, 0);
  if (!made)
    co_return fail(made.error().with("make the group '" + group + "' of topic '" + topic.name + "' at " +
                                     shown_nats_url(options.url)));
  co_return made;
}

// One that is there stays as it is, but for its lease: where it begins cannot be changed.
Task<Result<void>> Core::adopt_consumer(const Topic& topic, std::string group, Priority priority) {
  const std::string consumer = names.stream(topic.name) + "." + Names::consumer(group, priority);
  auto info = co_await jetstream.call("CONSUMER.INFO." + consumer);
  if (!info) co_return fail(info.error());
  const auto ours = check_consumer(*info, durable_consumer(Names::consumer(group, priority),
                                                           names.filters(topic.name, group, priority), topic.lease, 0));
  if (!ours) co_return ours;
  const Json* found = info->find("config");
  Json config = found == nullptr ? Json::object() : *found;
  if (config.int_or("ack_wait", 0) == nanoseconds(topic.lease)) co_return Result<void>{};
  config.set("ack_wait", nanoseconds(topic.lease));
  auto updated =
      co_await jetstream.call("CONSUMER.CREATE." + consumer,
                              Json::object({{"stream_name", names.stream(topic.name)}, {"config", std::move(config)}}));
  if (!updated) co_return fail(updated.error());
  co_return Result<void>{};
}

Task<Result<void>> Core::make_consumer(const Topic& topic, std::string group, Priority priority, std::uint64_t from) {
  const std::string stream = names.stream(topic.name);
  const bool keeper = group == kKeeper;
  const std::string consumer = keeper ? group : Names::consumer(group, priority);
  const auto filters = keeper ? std::vector{names.subject(topic.name), names.all_marked(topic.name)}
                              : names.filters(topic.name, group, priority);
  Json config = durable_consumer(consumer, filters, topic.lease, from);
  auto made = co_await jetstream.call("CONSUMER.CREATE." + stream + "." + consumer,
                                      Json::object({{"stream_name", stream}, {"config", std::move(config)}}));
  if (!made) co_return fail(made.error());
  co_return Result<void>{};
}

Task<Result<std::vector<std::string>>> Core::groups_of(const Topic& topic) {
  const std::string stream = names.stream(topic.name);
  std::vector<std::string> groups;
  for (std::uint64_t offset = 0; offset < kPageItemsMax;) {
    auto page = co_await jetstream.call("CONSUMER.NAMES." + stream, Json::object({{"offset", offset}}));
    if (!page) co_return fail(page.error());
    const Json* consumers = page->find("consumers");
    const std::size_t count = consumers == nullptr ? 0 : consumers->items().size();
    for (std::size_t i = 0; i < count; ++i) {
      const std::string* consumer = consumers->items()[i].string();
      auto group = consumer == nullptr ? std::nullopt : Names::group_of(*consumer);
      if (group) groups.push_back(std::move(*group));
    }
    offset += count;
    if (count == 0 || offset >= page->uint_or("total", 0)) break;
  }
  std::ranges::sort(groups);
  co_return groups;
}

Task<Result<void>> Core::prioritize(std::string topic) {
  auto found = co_await find(topic);
  if (!found) co_return fail(found.error());
  if ((*found)->prioritized) co_return Result<void>{};
  const auto turn = co_await prioritizing_.acquire(1);
  if (!turn) co_return fail(turn.error());
  if ((*found)->prioritized) co_return Result<void>{};
  auto info = co_await jetstream.call("STREAM.INFO." + names.stream(topic));
  if (!info) co_return fail(info.error());
  if (auto ours = check_is_ours(topic, *info); !ours) co_return ours;
  learn(**found, *info);
  const Json* there = info->find("config");
  if (there == nullptr) co_return fail(Errc::internal, "stream " + names.stream(topic) + ": no configuration");
  Json config = *there;
  const Json* known = config.find("metadata");
  Json metadata = known == nullptr ? Json::object() : *known;
  metadata.set(kHasPriorities, "yes");
  config.set("metadata", std::move(metadata));
  auto updated = co_await jetstream.call("STREAM.UPDATE." + names.stream(topic), std::move(config));
  if (!updated) co_return fail(updated.error().with("give topic '" + topic + "' priorities"));
  auto groups = co_await groups_of(**found);
  if (!groups) co_return fail(groups.error());
  for (auto& group : *groups) {
    auto made = co_await make_lanes(**found, std::move(group));
    if (!made) co_return made;
  }
  note_prioritized(**found);
  [[maybe_unused]] const bool told = link->send({.subject = names.prioritized(topic)});
  co_return Result<void>{};
}

void Core::note_prioritized(Topic& topic) {
  if (std::exchange(topic.prioritized, true)) return;
  for (const auto& [name, group] : topic.groups) group->prioritized();
}

void Core::hear(const Message& news) {
  const auto heard = names.news_of(news.subject());
  if (!heard) return;
  const auto topic = topics_.find(heard->topic);
  if (topic == topics_.end()) return;
  if (heard->kind == 'p') {
    note_prioritized(*topic->second);
    return;
  }
  if (heard->kind == 'x') {
    // Our own word of it comes back to us, too, and there may be a topic of this name again.
    if (topic->second->created.empty()) return;
    topic->second->prioritized = false;  // nobody may listen for them there
    background.spawn(look_at_topic(heard->topic));
    return;
  }
  const auto group = topic->second->groups.find(heard->group);
  const auto settled = decode_turn(news.data());
  if (group != topic->second->groups.end() && settled) group->second->turns.heard(std::string(heard->digest), *settled);
}

Group& Core::add_group(Topic& topic, const std::string& group) {
  auto& slot = topic.groups[group];
  if (!slot) slot = std::make_unique<Group>(*this, topic, group);
  slot->restored();
  return *slot;
}

Core::KeyLine::KeyLine(Core& core, std::string key)
    : core_(core), line_(core.key_lines_.try_emplace(std::move(key), core.loop).first) {
  ++line_->second.users;
}

Core::KeyLine::~KeyLine() {
  if (--line_->second.users == 0) core_.key_lines_.erase(line_);
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

Task<void> Core::look_for_store() {
  // Asked twice: a cluster that comes together again may not know everything at once.
  for (int tries = 1; tries <= 2; ++tries) {
    const auto info = co_await jetstream.call("STREAM.INFO." + names.begun_stream());
    if (closed_ || lost_) co_return;
    const bool gone = info ? info->string_or("created", "") != store_ : info.error().code == Errc::not_found;
    if (!gone) co_return;
    const auto slept = co_await sleep_for(loop, kLookAgain);
    if (!slept || closed_) co_return;
  }
  lost_ = Error{.code = Errc::data_loss,
                .message = "the NATS server at " + shown_nats_url(options.url) +
                           " came back with another store: the topics and events of prefix '" + options.prefix +
                           "' are gone; put its store back, or start this node again to begin with an empty one"};
  log.error(lost_->message, {});
  for (const auto& [name, topic] : topics_) {
    for (const auto& [group_name, group] : topic->groups) group->waits.wake_all();
  }
  for (WaitList* each : credit_waits) each->wake_all();
}

// Those whose leases may have ended meanwhile are renewed before anybody else begins their messages.
void Core::reconnected() {
  for (const auto& [name, topic] : topics_) {
    for (const auto& [group_name, group] : topic->groups) {
      for (const auto& [seq, delivery] : group->held()) {
        auto record = delivery->renewal();
        if (record) background.spawn(renew(*this, *group, seq, delivery->owner(), std::move(*record)));
      }
    }
  }
  reconnects.add();
  background.spawn(look_for_store());
  all_anew();
}

void Core::all_anew() {
  for (const auto& [name, topic] : topics_) {
    topic->prioritized = false;  // it may be another topic by now, without consumers for them
    if (!topic->created.empty()) unsure_.insert(name);
    for (const auto& [group_name, group] : topic->groups) {
      group->reconnected();
      if (group->has_subscriber()) tell_backlog(name);
    }
  }
  const auto watched = watchings;
  for (const auto& watching : watched) background.spawn(watching->look_again());
  look_at_unsure();
}

void Core::watch_pulls() {
  pull_watch_ = loop.start_timer(kPullWatch, [this] {
    for (const auto& [name, topic] : topics_) {
      for (const auto& [group_name, group] : topic->groups) group->check_pulls();
    }
    const auto watched = watchings;
    for (const auto& watching : watched) watching->check_request();
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
