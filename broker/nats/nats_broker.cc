#include "broker/nats/nats_broker.h"

#include <algorithm>
#include <charconv>
#include <unordered_set>
#include <utility>

#include "broker/input_checks.h"
#include "broker/nats/core.h"
#include "broker/nats/durability.h"
#include "broker/nats/group.h"
#include "broker/nats/nats_delivery.h"
#include "broker/nats/settings.h"
#include "broker/nats/topic_admin.h"
#include "broker/nats/watching.h"
#include "broker/nats/wire.h"

namespace millrace {
namespace {

using nats::Core;
using nats::Names;
using nats::nanoseconds;

constexpr std::uint64_t kUnlimitedFrom = 1ULL << 40;
constexpr std::chrono::milliseconds kDedupeWindowMin{100};  // the server's
// Attributes at their bound, percent-encoded: of a structured message they are part of the document.
constexpr std::size_t kDocumentRoom = 3 * kEventHeaderBytesMax;
constexpr std::size_t kHeaderRoom = kDocumentRoom + (16U << 10);  // and what we add

Json limit(std::uint64_t wanted) {
  return wanted >= kUnlimitedFrom ? Json(-1) : Json(wanted);
}

std::string version_of(const nats::Link& link) {
  return link.server() ? link.server()->version : std::string();
}

class NatsBroker final : public Broker {
 public:
  explicit NatsBroker(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~NatsBroker() override { core_->crash(); }

  Capabilities capabilities() const override { return core_->capabilities; }
  Task<Result<void>> ensure(TopicSpec topic) override;
  Task<Result<std::vector<std::string>>> topics() override;
  Task<Result<TopicInfo>> describe(std::string topic) override { return nats::describe(*core_, std::move(topic)); }
  Task<std::vector<Result<Receipt>>> publish(std::string topic, std::vector<Outgoing> batch) override;
  Task<Result<std::unique_ptr<Subscription>>> subscribe(SubscribeOptions options) override;
  Task<Result<Lag>> lag(std::string topic, std::string group) override;
  std::optional<Error> trouble() const override;
  Task<Result<std::vector<DeadLetter>>> dead_letters(std::string topic, std::string group, std::string after,
                                                     std::size_t limit) override;
  Task<Result<std::uint64_t>> redrive(std::string topic, std::string group, std::vector<std::string> ids) override;
  Task<Result<void>> purge(std::string topic, std::string group) override;
  Task<Result<void>> remove_group(std::string topic, std::string group) override;
  Task<Result<void>> remove_topic(std::string topic) override { return nats::remove_topic(*core_, std::move(topic)); }
  Task<Result<std::unique_ptr<Watch>>> watch(std::string topic, TopicWatcher& watcher) override {
    return nats::watch(core_, std::move(topic), watcher);
  }
  void on_backlog(std::move_only_function<void(const std::string& topic)> changed) override {
    core_->backlog_changed = std::move(changed);
  }
  Task<void> close() override { return core_->close(); }

 private:
  [[nodiscard]] Task<Result<Receipt>> publish_one(std::string topic, Outgoing message);
  [[nodiscard]] Task<void> publish_into(std::string topic, Outgoing message, OneShot<Result<Receipt>> receipt);
  [[nodiscard]] Task<Result<bool>> make_stream(const TopicSpec& spec);

  std::shared_ptr<Core> core_;
};

// True when the stream was not there before.
Task<Result<bool>> NatsBroker::make_stream(const TopicSpec& spec) {
  const Names& names = core_->names;
  Json config = nats::topic_stream(names, spec.name);
  config.set("num_replicas", core_->options.replicas);
  config.set("max_msgs", std::min(spec.messages_max, core_->options.topic_messages_max));
  config.set("max_bytes", limit(std::min(spec.bytes_max, core_->options.topic_bytes_max)));
  config.set("duplicate_window", nanoseconds(std::max(spec.dedupe_window, kDedupeWindowMin)));
  config.set("metadata", Json::object({{"millrace-lease-ms", std::to_string(spec.lease.count())},
                                       {"millrace-overdue-ms", std::to_string(spec.overdue_after.count())}}));
  // The microseconds since 1970: the numbers of a topic that was removed never come again, nor what was recorded of
  // them.
  const auto first_seq = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(core_->loop.wall_now().time_since_epoch()).count());
  auto made = co_await core_->jetstream.ensure_stream(names.stream(spec.name), std::move(config), first_seq);
  if (!made) {
    co_return fail(made.error().with("make the topic '" + spec.name + "' at " + shown_nats_url(core_->options.url)));
  }
  core_->learn(core_->remember(spec.name), made->answer);
  co_return made->created;
}

Task<Result<void>> NatsBroker::ensure(TopicSpec spec) {
  if (auto ok = core_->usable(); !ok) co_return ok;
  if (auto ok = check_spec(spec); !ok) co_return ok;
  if (core_->is_ensured(spec)) co_return Result<void>{};
  auto created = co_await make_stream(spec);
  if (!created) co_return fail(created.error());
  nats::Topic& topic = core_->remember(spec.name);
  topic.lease = spec.lease;
  topic.overdue_after = spec.overdue_after;
  if (*created && spec.groups.empty()) {
    auto kept = co_await core_->make_consumer(topic, std::string(nats::kKeeper), Priority::normal, 0);
    if (!kept) co_return kept;
  }
  std::vector<std::string> groups = spec.groups;
  // A changed lease is the groups' as well.
  for (const auto& [name, group] : topic.groups) {
    if (!group->is_removed() && std::ranges::find(groups, name) == groups.end()) groups.push_back(name);
  }
  for (auto& group : groups) {
    auto made = co_await core_->make_group(topic, std::move(group));
    if (!made) co_return fail(made.error());
  }
  topic.ensured = std::move(spec);
  co_return Result<void>{};
}

Task<Result<std::vector<std::string>>> NatsBroker::topics() {
  if (auto ok = core_->usable(); !ok) co_return fail(ok.error());
  std::vector<std::string> names;
  for (std::uint64_t offset = 0;;) {
    auto page = co_await core_->jetstream.call(
        "STREAM.NAMES", Json::object({{"subject", core_->names.all_topics()}, {"offset", offset}}));
    if (!page) co_return fail(page.error());
    const Json* streams = page->find("streams");
    const std::size_t count = streams == nullptr ? 0 : streams->items().size();
    for (std::size_t i = 0; i < count; ++i) {
      const std::string* stream = streams->items()[i].string();
      auto topic = stream == nullptr ? std::nullopt : core_->names.topic_of(*stream);
      if (topic) names.push_back(std::move(*topic));
    }
    offset += count;
    if (count == 0 || offset >= page->uint_or("total", 0)) break;
  }
  std::ranges::sort(names);
  co_return names;
}

Task<Result<Receipt>> NatsBroker::publish_one(std::string topic, Outgoing message) {
  if (auto ok = core_->usable(); !ok) co_return fail(ok.error());
  if (!check_topic_name(topic)) {
    co_return fail(Errc::not_found, "topic '" + topic.substr(0, 200) + "' does not exist");
  }
  if (auto ok = check_message(message, core_->capabilities.message_bytes_max); !ok) co_return fail(ok.error());
  const nats::Mark mark{.priority = message.priority,
                        .key = message.key.empty() ? std::string() : nats::key_digest(message.key)};
  if (mark.priority != Priority::normal) {
    auto ready = co_await core_->prioritize(topic);
    if (!ready) co_return fail(ready.error());
  }
  std::optional<Core::KeyLine> line;
  Result<Semaphore::Permit> turn;
  if (!mark.key.empty()) {
    line.emplace(*core_, topic + "." + mark.key);
    turn = co_await line->turn();
    if (!turn) co_return fail(turn.error());
  }
  const std::size_t bytes =
      std::min<std::size_t>(message.event.data.size() + header_bytes(message.event), core_->options.flight_bytes_max);
  const auto room = co_await core_->flight.acquire(bytes);
  if (!room) co_return fail(room.error());
  auto stored = co_await core_->jetstream.publish(
      core_->names.stream(topic),
      nats::encode(message, mark.plain() ? core_->names.subject(topic) : core_->names.marked(topic, mark),
                   core_->loop.wall_now(), core_->capabilities.message_bytes_max + kDocumentRoom));
  if (stored) {
    (stored->duplicate ? core_->duplicates : core_->published).add();
    co_return Receipt{.duplicate = stored->duplicate};
  }
  if (stored.error().code == Errc::no_space) core_->refused.add();
  // Its stream is gone, or has lost its subject.
  if (stored.error().code == Errc::not_found || stored.error().code == Errc::failed_precondition) core_->forget(topic);
  if (stored.error().code == Errc::not_found) {
    co_return fail(Errc::not_found, "topic '" + topic + "' does not exist");
  }
  co_return fail(stored.error().with("topic '" + topic + "'"));
}

Task<void> NatsBroker::publish_into(std::string topic, Outgoing message, OneShot<Result<Receipt>> receipt) {
  auto result = co_await publish_one(std::move(topic), std::move(message));
  receipt.set(std::move(result));
}

Task<std::vector<Result<Receipt>>> NatsBroker::publish(std::string topic, std::vector<Outgoing> batch) {
  std::vector<Result<Receipt>> results;
  results.reserve(batch.size());
  if (batch.size() == 1) {
    auto result = co_await publish_one(topic, std::move(batch[0]));
    results.push_back(std::move(result));
  } else {
    TaskGroup publishing(core_->loop);
    std::vector<OneShot<Result<Receipt>>> receipts;
    receipts.reserve(batch.size());
    for (auto& message : batch) {
      receipts.emplace_back(core_->loop);
      publishing.spawn(publish_into(topic, std::move(message), receipts.back()));
    }
    for (const auto& receipt : receipts) {
      auto result = co_await receipt.wait();
      results.push_back(std::move(result));
    }
  }
  const bool any = std::ranges::any_of(results, [](const auto& result) { return result.has_value(); });
  // With a subscription here, the arrival tells.
  if (any && !core_->has_subscriber(topic)) core_->tell_backlog(topic);
  co_return results;
}

Task<Result<std::unique_ptr<Subscription>>> NatsBroker::subscribe(SubscribeOptions options) {
  auto group = co_await core_->find(options.topic, options.group, true);
  if (!group) co_return fail(group.error());
  co_return std::make_unique<nats::NatsSubscription>(core_, **group);
}

Task<Result<Lag>> NatsBroker::lag(std::string topic, std::string group) {
  auto found = co_await core_->find(std::move(topic), std::move(group), false);
  if (!found) co_return fail(found.error());
  auto lag = co_await (*found)->lag();
  co_return lag;
}

std::optional<Error> NatsBroker::trouble() const {
  if (auto ok = core_->usable(); !ok) return std::move(ok.error());
  if (core_->link->connected()) return std::nullopt;
  return Error{.code = Errc::unavailable,
               .message = "no connection to the NATS server at " + shown_nats_url(core_->options.url),
               .retry_after = {}};
}

Task<Result<std::vector<DeadLetter>>> NatsBroker::dead_letters(std::string topic, std::string group, std::string after,
                                                               std::size_t limit) {
  auto found = co_await core_->find(topic, group, false);
  if (!found) co_return fail(found.error());
  std::vector<DeadLetter> letters;
  std::uint64_t from = 0;
  const auto parsed = std::from_chars(after.data(), after.data() + after.size(), from);
  if (!after.empty() && (parsed.ec != std::errc() || parsed.ptr != after.data() + after.size())) {
    co_return fail(
        Errc::invalid_argument,
        "'" + after.substr(0, kIdBytesMax) + "' is no position in the dead letters: take that of the last one listed");
  }
  ++from;
  for (std::size_t bytes = 0;
       letters.size() < std::min(limit, kDeadLetterPageMax) && bytes < kDeadLetterPageBytesMax;) {
    auto kept =
        co_await core_->jetstream.next_message(core_->names.dead_stream(), from, core_->names.dead(topic, group));
    if (!kept && kept.error().code == Errc::not_found) break;
    if (!kept) co_return fail(kept.error());
    from = kept->seq + 1;
    letters.push_back(nats::decode_dead(*kept));
    letters.back().position = std::to_string(kept->seq);
    bytes += header_bytes(letters.back().event) + letters.back().event.data.size();
  }
  co_return letters;
}

Task<Result<std::uint64_t>> NatsBroker::redrive(std::string topic, std::string group, std::vector<std::string> ids) {
  auto found = co_await core_->find(topic, group, false);
  if (!found) co_return fail(found.error());
  const std::unordered_set<std::string> wanted(ids.begin(), ids.end());
  const std::string stream = core_->names.dead_stream();
  // What dies again at once comes behind those that are there now, and is not followed round and round.
  auto info = co_await core_->jetstream.call("STREAM.INFO." + stream);
  if (!info) co_return fail(info.error());
  const Json* state = info->find("state");
  const std::uint64_t last = state == nullptr ? 0 : state->uint_or("last_seq", 0);
  std::uint64_t done = 0;
  for (std::uint64_t from = 1;;) {
    auto kept = co_await core_->jetstream.next_message(stream, from, core_->names.dead(topic, group));
    if (!kept && kept.error().code == Errc::not_found) break;
    if (!kept) co_return fail(kept.error());
    if (kept->seq > last) break;
    from = kept->seq + 1;
    if (!wanted.empty() && !wanted.contains(nats::decode_dead(*kept).id)) continue;
    nats::Mark mark = nats::mark_of_dead(*kept);
    mark.group = group;
    auto stored = co_await core_->jetstream.publish(
        core_->names.stream(topic), nats::encode_redriven(*kept, mark.plain() ? core_->names.redriven(topic, group)
                                                                              : core_->names.marked(topic, mark)));
    if (!stored) co_return fail(stored.error());
    auto gone = co_await core_->jetstream.call("STREAM.MSG.DELETE." + stream,
                                               Json::object({{"seq", kept->seq}, {"no_erase", true}}));
    if (!gone && gone.error().code != Errc::not_found) co_return fail(gone.error());
    ++done;
  }
  if (done > 0) core_->tell_backlog(topic);
  co_return done;
}

Task<Result<void>> NatsBroker::purge(std::string topic, std::string group) {
  auto found = co_await core_->find(topic, group, false);
  if (!found) co_return fail(found.error());
  auto purged = co_await (*found)->purge();
  co_return purged;
}

Task<Result<void>> NatsBroker::remove_group(std::string topic, std::string group) {
  auto found = co_await core_->find(topic, group, false);
  if (!found) co_return fail(found.error());
  core_->forget(topic);
  auto removed = co_await (*found)->remove();
  co_return removed;
}

}  // namespace

Task<Result<std::unique_ptr<Broker>>> open_nats_broker(NatsBrokerOptions options, EventLoop& loop, Metrics& metrics,
                                                       Log& log) {
  auto names = Names::make(options.prefix);
  if (!names) co_return fail(names.error());
  if (options.replicas != 1 && options.replicas != 3 && options.replicas != 5) {
    co_return fail(Errc::invalid_argument, std::to_string(options.replicas) + " replicas: expected 1, 3 or 5");
  }
  auto link = co_await nats::Link::open(loop, options, log, names->news());
  if (!link) co_return fail(link.error());
  const std::string url = shown_nats_url(options.url);
  auto core = std::make_shared<Core>(loop, metrics, log, std::move(options), std::move(*names), std::move(*link));
  auto ready = co_await core->prepare();
  if (!ready) co_return fail(ready.error().with("the NATS server at " + url));
  const std::size_t payload = core->link->payload_bytes_max();
  if (payload <= kHeaderRoom) {
    co_return fail(Errc::failed_precondition, "the NATS server at " + url + " takes messages of " +
                                                  std::to_string(payload) + " bytes; set max_payload: 2MB there");
  }
  core->capabilities = {.confirm = ready->durability,
                        .native_delay = true,
                        .durable_attempts = true,
                        .ordered_keys = true,
                        .priorities = true,
                        .exact_lag = false,
                        .detects_id_reuse = false,
                        .bounds_count_dead = false,
                        .message_bytes_max = std::min(kEventBytesMax, payload - kHeaderRoom)};
  log.info("NATS broker opened", {{"url", url},
                                  {"version", version_of(*core->link)},
                                  {"durability", name_of(ready->durability)},
                                  {"because", ready->why}});
  co_return std::make_unique<NatsBroker>(std::move(core));
}

Task<Result<std::string>> describe_nats_broker(NatsBrokerOptions options, EventLoop& loop, Log& log) {
  auto names = Names::make(options.prefix);
  if (!names) co_return fail(names.error());
  auto link = co_await nats::Link::open(loop, options, log);
  if (!link) co_return fail(link.error());
  nats::JetStream jetstream(loop, **link, options);
  auto account = co_await jetstream.call("INFO");
  Result<bool> syncs = false;
  if (account && !options.monitor_url.empty()) syncs = co_await nats::ask_monitor(loop, options.monitor_url);
  Result<Json> stream = fail(Errc::not_found, "");
  if (account) stream = co_await jetstream.call("STREAM.INFO." + names->begun_stream());
  const std::string version = version_of(**link);
  const auto server = (*link)->server();
  co_await (*link)->close();
  if (!account) co_return fail(account.error().with("JetStream"));
  const Json* config = stream ? stream->find("config") : nullptr;
  if (config != nullptr) {
    const auto ours = nats::check_stream(*config, nats::begun_stream(*names, options));
    if (!ours) co_return fail(ours.error().with("the NATS server at " + shown_nats_url(options.url)));
  }
  const bool enough = config != nullptr && config->uint_or("num_replicas", 1) >= options.replicas;
  if (!enough && options.replicas > 1 && server && server->cluster.empty()) {
    co_return fail(Errc::failed_precondition, "nats_replicas is " + std::to_string(options.replicas) +
                                                  ", but the NATS server at " + shown_nats_url(options.url) +
                                                  " is in no cluster: set one up, or leave nats_replicas at 1");
  }
  // As it would be made.
  if (!enough) {
    stream = Json::object({{"config", Json::object({{"storage", "file"}, {"num_replicas", options.replicas}})}});
  }
  auto found = nats::assess(*stream, options, syncs);
  if (!enough && found.durability == Durability::replicated) {
    found.why = std::to_string(options.replicas) +
                " servers are to keep each stream (nats_replicas); the start tells whether the cluster has so many";
  }
  co_return std::string(name_of(found.durability)) + ": " + found.why +
      (version.empty() ? std::string() : " (version " + version + ")");
}

}  // namespace millrace
