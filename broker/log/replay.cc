#include "broker/log/replay.h"

#include <algorithm>
#include <string>
#include <utility>

#include "broker/log/record_bodies.h"

namespace millrace::wal {
namespace {

constexpr std::uint32_t kTopicsMax = 1 << 20;  // a number beyond is not one of ours
constexpr std::uint64_t kSeqMax = 1ULL << 62;  // the same; and the one behind it must be a number, too
constexpr std::uint64_t kSpanMax = 367ULL * 24 * 3600 * 1000;

std::chrono::milliseconds span(std::uint64_t ms) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(ms, kSpanMax)));
}

}  // namespace

Replay::Replay(TopicTable& topics, IdKey id_key, std::chrono::system_clock::time_point wall_now,
               EventLoop::TimePoint now)
    : topics_(topics),
      id_key_(id_key),
      wall_now_ms_(std::chrono::duration_cast<std::chrono::milliseconds>(wall_now.time_since_epoch()).count()),
      now_(now) {}

Result<void> Replay::apply(const Record& record, RecordPlace place) {
  if (record.head.topic >= kTopicsMax || record.head.group >= TopicState::kGroupsMax) {
    return fail(Errc::data_loss, "a log record names an impossible topic or group");
  }
  if (record.head.seq > kSeqMax) return fail(Errc::data_loss, "a log record names an impossible message");
  first_epoch_ = std::min(first_epoch_, place.epoch);
  switch (record.head.type) {
    case RecordType::message: return apply_message(record, place);
    case RecordType::entry: return apply_entry(record);
    case RecordType::dead: return apply_dead(record);
    case RecordType::settled:
      topics_.restore(record.head.topic).restore_group(record.head.group).settle(record.head.seq);
      return {};
    case RecordType::purge:
      static_cast<void>(topics_.restore(record.head.topic).restore_group(record.head.group).purge());
      return {};
    case RecordType::topic: return apply_topic(record, place);
    case RecordType::group: return apply_group(record, place);
    case RecordType::ids: return apply_ids(record, place);
    case RecordType::trim: raise_oldest(static_cast<std::uint32_t>(record.head.seq)); return {};
    case RecordType::seal: return {};
  }
  return fail(Errc::data_loss, "a log record has an unknown type");
}

Result<void> Replay::apply_message(const Record& record, RecordPlace place) {
  const auto body = decode_message(record.body);
  if (!body) return fail(body.error());
  if (record.length > Message::kSizeBytesMax) return fail(Errc::data_loss, "a stored message is impossibly large");
  TopicState& topic = topics_.restore(record.head.topic);
  std::optional<EventLoop::TimePoint> due;
  const std::int64_t due_ms = body->published_ms + static_cast<std::int64_t>(std::min(body->delay_ms, kSpanMax));
  if (body->delay_ms > 0 && due_ms > wall_now_ms_) due = loop_time(due_ms, body->delay_ms);
  const Mark mark{.key = body->key.empty() ? 0 : digest_key(body->key, id_key_), .priority = body->priority};
  topic.restore(record.head.seq, Message(body->open, body->published_ms, record.length, place), mark, due);
  remember(topic, {.id = digest_id(body->id, id_key_), .content = body->content, .epoch = place.epoch, .until = {}},
           body->known_until_ms);
  return {};
}

Result<void> Replay::apply_entry(const Record& record) {
  const auto body = decode_entry(record.body);
  if (!body) return fail(body.error());
  TopicState& topic = topics_.restore(record.head.topic);
  GroupState& group = topic.restore_group(record.head.group);
  const Message* message = topic.find(record.head.seq);
  if (message == nullptr || (message->open & group.bit()) == 0) return {};  // its message was done by the end
  Entry& entry = group.restore(record.head.seq);
  entry.begun = body->begun;
  entry.counters = body->counters;
  entry.redrives = body->redrives;
  const std::int64_t due_ms = body->written_ms + static_cast<std::int64_t>(std::min(body->delay_ms, kSpanMax));
  if (body->delay_ms > 0 && due_ms > wall_now_ms_) group.restore_delay(entry, loop_time(due_ms, body->delay_ms));
  return {};
}

Result<void> Replay::apply_dead(const Record& record) {
  auto body = decode_dead(record.body);
  if (!body) return fail(body.error());
  TopicState& topic = topics_.restore(record.head.topic);
  GroupState& group = topic.restore_group(record.head.group);
  const Message* message = topic.find(record.head.seq);
  if (message == nullptr || (message->open & group.bit()) == 0) return {};
  group.bury(record.head.seq, std::move(*body));
  return {};
}

Result<void> Replay::apply_topic(const Record& record, RecordPlace place) {
  const auto body = decode_topic(record.body);
  if (!body) return fail(body.error());
  TopicState& topic = topics_.restore(record.head.topic);
  if (body->name.empty()) {
    static_cast<void>(topics_.remove(topic));
    return {};
  }
  if (auto ok = check_topic_name(body->name); !ok) return fail(Errc::data_loss, ok.error().message);
  if (!topic.name().empty() && topic.name() != body->name) {
    return fail(Errc::data_loss, "two topics of the log, '" + topic.name() + "' and '" + std::string(body->name) +
                                     "', have the same number");
  }
  topics_.restore_name(topic, std::string(body->name), record.head.seq);
  topic.settings = {.lease = span(body->lease_ms),
                    .dedupe_window = span(body->dedupe_window_ms),
                    .bytes_max = body->bytes_max,
                    .messages_max = body->messages_max,
                    .overdue_after = span(body->overdue_after_ms)};
  topic.recorded_in = place.epoch;
  return {};
}

Result<void> Replay::apply_group(const Record& record, RecordPlace place) {
  const auto body = decode_group(record.body);
  if (!body) return fail(body.error());
  TopicState& topic = topics_.restore(record.head.topic);
  const std::size_t index = record.head.group;
  if (body->says == GroupBody::Says::removed) {
    static_cast<void>(topic.remove_group(index));
    topic.group(index)->recorded_in = place.epoch;
    return {};
  }
  if (auto ok = check_topic_name(body->name); !ok) return fail(Errc::data_loss, ok.error().message);
  // Whatever stands in front of it in the log was retained when it came: what had been done by then stands there no
  // more, or as a record of its own that settles it for the groups of that time.
  GroupState& group = body->says == GroupBody::Says::added ? topic.add_group(index, std::string(body->name))
                                                           : topic.restore_group(index, std::string(body->name));
  group.recorded_in = place.epoch;
  return {};
}

Result<void> Replay::apply_ids(const Record& record, RecordPlace place) {
  const auto body = decode_ids(record.body);
  if (!body) return fail(body.error());
  TopicState& topic = topics_.restore(record.head.topic);
  for (const auto& known : *body) {
    remember(topic, {.id = known.id, .content = known.content, .epoch = place.epoch, .until = {}}, known.until_ms);
  }
  return {};
}

// When `ms` will be on the loop's clock; at most the whole span from now, should people's clock have been set back.
EventLoop::TimePoint Replay::loop_time(std::int64_t ms, std::uint64_t span_ms_max) const {
  const auto left = static_cast<std::uint64_t>(std::max<std::int64_t>(ms - wall_now_ms_, 0));
  return now_ + span(std::min(left, span_ms_max));
}

void Replay::remember(TopicState& topic, const DedupeWindow::Entry& entry, std::int64_t until_ms) {
  if (until_ms <= wall_now_ms_) return;
  auto added = entry;
  added.until = loop_time(until_ms, kSpanMax);
  topic.dedupe.add(added);
}

void Replay::raise_oldest(std::uint32_t epoch) {
  if (epoch <= oldest_) return;
  oldest_ = epoch;
  if (first_epoch_ >= epoch) return;
  // Whatever lies before was done or was copied further on. It is only here because a crash kept the file.
  for (const auto& topic : topics_.all()) {
    if (topic) topic->drop_before(epoch);
  }
}

Result<void> Replay::check_complete() const {
  for (const auto& topic : topics_.all()) {
    if (!topic) continue;
    const bool nameless_group = std::ranges::any_of(
        topic->groups(), [](const auto& each) { return each->name().empty() && !each->is_removed(); });
    const bool nameless = topic->name().empty() && (!topic->is_removed() || topic->size() > 0);
    if (nameless || nameless_group) {
      return fail(Errc::data_loss, "topic number " + std::to_string(topic->id()) +
                                       " of the log, or one of its groups, has no name: records are missing");
    }
  }
  return {};
}

}  // namespace millrace::wal
