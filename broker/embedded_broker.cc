#include "broker/embedded_broker.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <unordered_set>
#include <utility>

#include "async/frame_pool.h"
#include "broker/embedded_core.h"
#include "broker/embedded_delivery.h"
#include "broker/input_checks.h"
#include "broker/message_digest.h"

namespace millrace {
namespace {

using embedded::GroupRuntime;

// What a message counts for before it is encoded: never less than it will take.
std::size_t size_of(const Outgoing& message) {
  return header_bytes(message.event) + message.event.data.size() + message.id.size() + message.key.size();
}

// Of a dead letter: its time of death and the number of its message.
using DeadKey = std::pair<std::int64_t, std::uint64_t>;

class EmbeddedWatch final : public Watch {
 public:
  EmbeddedWatch(const std::shared_ptr<embedded::Core>& core, const std::string& topic, TopicWatcher& watcher)
      : core_(core), place_(core->watchers.emplace(topic, &watcher)) {}
  EmbeddedWatch(const EmbeddedWatch&) = delete;
  EmbeddedWatch& operator=(const EmbeddedWatch&) = delete;
  ~EmbeddedWatch() override {
    if (const auto core = core_.lock()) core->watchers.erase(place_);
  }

 private:
  std::weak_ptr<embedded::Core> core_;
  embedded::Core::Watchers::iterator place_;
};

std::string position_of(const DeadKey& key) {
  return std::to_string(key.first) + "." + std::to_string(key.second);
}

Result<DeadKey> parse_position(const std::string& text) {
  DeadKey key{std::numeric_limits<std::int64_t>::min(), 0};
  if (text.empty()) return key;
  const char* const end = text.data() + text.size();
  const auto died = std::from_chars(text.data(), end, key.first);
  if (died.ec == std::errc() && died.ptr != end && *died.ptr == '.') {
    const auto seq = std::from_chars(died.ptr + 1, end, key.second);
    if (seq.ec == std::errc() && seq.ptr == end) return key;
  }
  return fail(Errc::invalid_argument, "'" + text.substr(0, kIdBytesMax) +
                                          "' is no position in the dead letters: take that of the last one listed");
}

}  // namespace

EmbeddedBroker::EmbeddedBroker(EventLoop& loop, Metrics& metrics, Options options, std::unique_ptr<TopicTable> table,
                               std::unique_ptr<Journal> journal)
    : capabilities_(journal->capabilities()),
      core_(std::make_shared<embedded::Core>(loop, metrics, options, std::move(table), std::move(journal))) {}

EmbeddedBroker::~EmbeddedBroker() {
  const auto closing = core_->shut();
}

Capabilities EmbeddedBroker::capabilities() const {
  return capabilities_;
}

Task<Result<void>> EmbeddedBroker::ensure(TopicSpec spec) {
  if (auto ok = core_->usable(); !ok) co_return ok;
  if (auto ok = check_spec(spec); !ok) co_return ok;
  TopicState* topic = core_->topics->find(spec.name);
  if (topic == nullptr && core_->topics->by_name().size() >= core_->options.topics_max) {
    co_return fail(Errc::resource_exhausted, "there are " + std::to_string(core_->options.topics_max) +
                                                 " topics already, the most this broker is configured for");
  }
  const TopicSettings settings{.lease = spec.lease,
                               .dedupe_window = spec.dedupe_window,
                               .bytes_max = spec.bytes_max,
                               .messages_max = spec.messages_max,
                               .overdue_after = spec.overdue_after};
  if (topic == nullptr || topic->settings != settings) {
    const std::uint32_t id = topic == nullptr ? core_->topics->next_id() : topic->id();
    const std::uint64_t first_seq = topic == nullptr ? core_->topics->first_seq(id) : topic->first_seq();
    auto written = core_->journal->write_topic(id, first_seq, spec.name, settings);
    if (!written) co_return fail(written.error());
    if (topic == nullptr) topic = &core_->topics->add(spec.name);
    topic->settings = settings;
    topic->recorded_in = *written;
  }
  for (auto& group : spec.groups) {
    if (topic->find_group(group) != nullptr) continue;
    if (auto made = core_->add_group(*topic, std::move(group)); !made) co_return fail(made.error());
  }
  auto confirmed = co_await core_->journal->confirm();
  co_return confirmed;
}

Task<Result<std::vector<std::string>>> EmbeddedBroker::topics() {
  if (auto ok = core_->usable(); !ok) co_return fail(ok.error());
  std::vector<std::string> names;
  for (const auto& [name, topic] : core_->topics->by_name()) names.push_back(name);
  co_return names;
}

Task<Result<TopicInfo>> EmbeddedBroker::describe(std::string topic) {
  const auto found = core_->find(topic);
  if (!found) co_return fail(found.error());
  const TopicSettings& settings = (*found)->settings;
  TopicInfo info{.spec = {.name = std::move(topic),
                          .groups = {},
                          .lease = settings.lease,
                          .dedupe_window = settings.dedupe_window,
                          .bytes_max = settings.bytes_max,
                          .messages_max = settings.messages_max,
                          .overdue_after = settings.overdue_after},
                 .messages = (*found)->size(),
                 .published = (*found)->next_seq() - (*found)->first_seq()};
  for (const auto& group : (*found)->groups()) {
    if (!group->is_removed()) info.spec.groups.push_back(group->name());
  }
  co_return info;
}

Task<Result<void>> EmbeddedBroker::remove_group(std::string topic, std::string group) {
  auto found = core_->find(topic, group);
  if (!found) co_return fail(found.error());
  if (auto removed = core_->remove_group(**found); !removed) co_return removed;
  auto confirmed = co_await core_->journal->confirm();
  co_return confirmed;
}

Task<Result<void>> EmbeddedBroker::remove_topic(std::string topic) {
  auto found = core_->find(topic);
  if (!found) co_return fail(found.error());
  if (auto removed = core_->remove_topic(**found); !removed) co_return removed;
  auto confirmed = co_await core_->journal->confirm();
  co_return confirmed;
}

Task<std::vector<Result<Receipt>>> EmbeddedBroker::publish(std::string topic, std::vector<Outgoing> batch) {
  std::vector<Result<Receipt>> results;
  results.reserve(batch.size());
  std::vector<std::shared_ptr<const StoredMessage>> watched;
  for (auto& message : batch) {
    auto found = core_->find(topic);
    if (!found) {
      results.emplace_back(fail(std::move(found.error())));
      continue;
    }
    if (auto ok = check_message(message, capabilities_.message_bytes_max); !ok) {
      results.emplace_back(fail(std::move(ok.error())));
      continue;
    }
    const std::size_t size = size_of(message);
    if (!core_->journal->has_room(size)) {
      auto room = co_await core_->journal->make_room(size);
      if (room) {
        found = core_->find(topic);  // it may have been removed meanwhile
        if (!found) room = fail(std::move(found.error()));
      }
      if (!room) {
        if (room.error().code == Errc::no_space) core_->refused.add();
        results.emplace_back(fail(std::move(room.error())));
        continue;
      }
    }
    results.push_back(publish_one(**found, message, size));
    if (results.back() && !results.back()->duplicate && core_->watchers.contains(topic)) {
      watched.push_back((*found)->content((*found)->next_seq() - 1));
    }
  }
  const bool any = std::ranges::any_of(results, [](const auto& result) { return result.has_value(); });
  if (!any) co_return results;
  const auto core = core_;  // we may be gone when it is confirmed
  Result<void> confirmed = core->usable();
  if (confirmed) confirmed = co_await core->journal->confirm();
  if (confirmed) core->show(topic, watched);
  if (confirmed) co_return results;
  for (auto& result : results) {
    if (result) result = fail(confirmed.error());
  }
  co_return results;
}

// Takes the message's contents where it succeeds; `size` is size_of(message).
Result<Receipt> EmbeddedBroker::publish_one(TopicState& topic, Outgoing& message, std::size_t size) {
  const auto now = core_->loop.now();
  const IdDigest id = digest_id(message.id, core_->journal->id_key());
  topic.dedupe.look_ahead(id);
  const std::uint32_t content = digest_content(message.event);
  if (const auto known = topic.dedupe.find(id, now)) {
    if (*known != content) {
      return fail(Errc::already_exists,
                  "topic '" + topic.name() + "': the id '" + message.id + "' was published before with other content");
    }
    core_->duplicates.add();
    return Receipt{.duplicate = true};
  }
  const std::uint64_t bytes_max = std::min(topic.settings.bytes_max, core_->options.topic_bytes_max);
  if (topic.size_bytes() + size > bytes_max) {
    core_->refused.add();
    return fail(Errc::no_space, "topic '" + topic.name() + "' holds " + std::to_string(topic.size_bytes()) +
                                    " bytes, and its limit is " + std::to_string(bytes_max));
  }
  if (topic.size() >= std::min(topic.settings.messages_max, core_->options.topic_messages_max)) {
    core_->refused.add();
    return fail(Errc::no_space, "topic '" + topic.name() + "' holds " + std::to_string(topic.size()) +
                                    " messages, and that is its limit");
  }

  const auto wall = std::chrono::time_point_cast<std::chrono::milliseconds>(core_->loop.wall_now());
  auto stored =
      std::allocate_shared<StoredMessage>(FramePoolAllocator<StoredMessage>(), std::move(message.id),
                                          std::move(message.key), message.priority, wall, std::move(message.event));
  const Mark mark{.key = stored->key.empty() ? 0 : digest_key(stored->key, core_->journal->id_key()),
                  .priority = stored->priority};
  Message added(topic.all_groups(), wall.time_since_epoch().count(), static_cast<std::uint32_t>(size), {});
  if (auto written = core_->journal->write_message(topic, added, *stored, content, message.delay); !written) {
    return fail(std::move(written.error()));
  }
  topic.dedupe.add(
      {.id = id, .content = content, .epoch = added.place.epoch, .until = now + topic.settings.dedupe_window});
  const bool delayed = message.delay > std::chrono::milliseconds(0);
  topic.append(added, mark, std::move(stored), delayed ? std::optional(now + message.delay) : std::nullopt);
  core_->added(topic);
  core_->published.add();
  return Receipt{};
}

Task<Result<std::unique_ptr<Subscription>>> EmbeddedBroker::subscribe(SubscribeOptions options) {
  auto topic = core_->find(options.topic);
  if (!topic) co_return fail(topic.error());
  if ((*topic)->find_group(options.group) == nullptr) {
    if (auto made = core_->add_group(**topic, options.group); !made) co_return fail(made.error());
    auto confirmed = co_await core_->journal->confirm();
    if (!confirmed) co_return fail(confirmed.error());
  }
  auto group = core_->find(options.topic, options.group);
  if (!group) co_return fail(group.error());
  co_return std::make_unique<embedded::EmbeddedSubscription>(core_, **group);
}

Task<Result<Lag>> EmbeddedBroker::lag(std::string topic, std::string group) {
  auto found = core_->find(topic, group);
  if (!found) co_return fail(found.error());
  co_return core_->lag(**found);
}

Task<Result<std::vector<DeadLetter>>> EmbeddedBroker::dead_letters(std::string topic, std::string group,
                                                                   std::string after, std::size_t limit) {
  auto found = core_->find(topic, group);
  if (!found) co_return fail(found.error());
  const auto from = parse_position(after);
  if (!from) co_return fail(from.error());
  const GroupRuntime& runtime = **found;
  const auto& dead = runtime.group.dead();
  std::vector<DeadLetter> letters;
  std::size_t bytes = 0;
  // Reading may take a while, and the dead letters change meanwhile: each is looked up behind the one before.
  for (auto at = *from; letters.size() < std::min(limit, kDeadLetterPageMax) && bytes < kDeadLetterPageBytesMax;) {
    const auto next = dead.upper_bound(at);
    if (next == dead.end()) break;
    at = next->first;
    DeadEntry entry = next->second;
    auto stored = runtime.topic.content(at.second);
    if (!stored && runtime.topic.find(at.second) != nullptr) {
      if (auto ok = core_->usable(); !ok) co_return fail(ok.error());
      auto loaded = co_await core_->journal->load(runtime.topic, at.second, false);
      if (!loaded) co_return fail(loaded.error());
      stored = runtime.topic.content(at.second);
    }
    if (!stored) continue;  // redriven and done, or purged
    bytes += header_bytes(stored->event) + stored->event.data.size();
    letters.push_back({.position = position_of(at),
                       .id = std::move(entry.id),
                       .event = stored->event,
                       .reason = std::move(entry.reason),
                       .counters = entry.counters,
                       .redrives = entry.redrives,
                       .died_at = std::chrono::system_clock::time_point(std::chrono::milliseconds(entry.died_ms))});
  }
  co_return letters;
}

Task<Result<std::uint64_t>> EmbeddedBroker::redrive(std::string topic, std::string group,
                                                    std::vector<std::string> ids) {
  auto found = core_->find(topic, group);
  if (!found) co_return fail(found.error());
  GroupRuntime& runtime = **found;
  const std::unordered_set<std::string> wanted(ids.begin(), ids.end());
  std::vector<std::uint64_t> seqs;
  for (const auto& [key, dead] : runtime.group.dead()) {
    if (wanted.empty() || wanted.contains(dead.id)) seqs.push_back(key.second);
  }

  constexpr std::uint64_t kStep = 1000;  // so that others get their turn
  std::uint64_t done = 0;
  for (const std::uint64_t seq : seqs) {
    if (auto ok = core_->usable(); !ok) co_return fail(ok.error());
    const DeadEntry* dead = runtime.group.find_dead(seq);
    if (dead == nullptr) continue;
    Entry after;
    after.seq = seq;
    after.redrives = dead->redrives + 1;
    if (auto written = core_->journal->write_entry(runtime.group, after, {}); !written) co_return fail(written.error());
    runtime.group.redrive(seq);
    if (++done % kStep != 0) continue;
    core_->changed(runtime);
    auto confirmed = co_await core_->journal->confirm();
    if (!confirmed) co_return fail(confirmed.error());
  }
  if (auto ok = core_->usable(); !ok) co_return fail(ok.error());
  core_->changed(runtime);
  auto confirmed = co_await core_->journal->confirm();
  if (!confirmed) co_return fail(confirmed.error());
  co_return done;
}

Task<Result<void>> EmbeddedBroker::purge(std::string topic, std::string group) {
  auto found = core_->find(topic, group);
  if (!found) co_return fail(found.error());
  GroupRuntime& runtime = **found;
  if (auto written = core_->journal->write_purge(runtime.group); !written) co_return written;
  const auto holders = runtime.group.purge();
  core_->changed(runtime);
  auto confirming = core_->journal->confirm();
  embedded::Core::lose(holders);
  auto confirmed = co_await confirming;
  co_return confirmed;
}

std::optional<Error> EmbeddedBroker::trouble() const {
  if (auto ok = core_->usable(); !ok) return std::move(ok.error());
  return core_->journal->trouble();
}

Task<Result<std::unique_ptr<Watch>>> EmbeddedBroker::watch(std::string topic, TopicWatcher& watcher) {
  const auto found = core_->find(topic);
  if (!found) co_return fail(found.error());
  co_return std::make_unique<EmbeddedWatch>(core_, topic, watcher);
}

void EmbeddedBroker::on_backlog(std::move_only_function<void(const std::string& topic)> changed) {
  core_->backlog_changed = std::move(changed);
}

Task<void> EmbeddedBroker::close() {
  const auto journal = core_->shut();
  if (journal) co_await journal->close();
}

}  // namespace millrace
