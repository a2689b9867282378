#include "broker/log/log_journal.h"

#include <algorithm>
#include <utility>

#include "broker/log/record_bodies.h"
#include "formats/event_codec.h"

namespace millrace::wal {
namespace {

// Entries are small, and most messages die soon: without this a long job would pin what is behind it in the queue.
constexpr std::size_t kCachedMax = 1 << 16;

// So much is handed over at once, also within a turn of the loop: the disk works while the loop goes on.
constexpr std::size_t kFlushBytes = 128 << 10;

// What a decoded message takes in memory beyond the bytes of its record.
constexpr std::uint32_t kContentBytes = 1024;

std::int64_t wall_ms(const EventLoop& loop) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(loop.wall_now().time_since_epoch()).count();
}

RecordHead head_of(const GroupState& group, RecordType type, std::uint64_t seq) {
  return {.type = type, .group = static_cast<std::uint16_t>(group.index()), .topic = group.topic_id(), .seq = seq};
}

}  // namespace

LogJournal::LogJournal(EventLoop& loop, Metrics& metrics, Log& log, JournalOptions options,
                       std::unique_ptr<BlockingPool> pool, std::shared_ptr<LogFiles> files, const Recovered& recovered,
                       TopicTable& topics)
    : Journal(loop),
      loop_(loop),
      log_(log),
      compaction_failing_(metrics.gauge("millrace_log_compaction_failing",
                                        "1 while the oldest segment of the embedded log cannot be given up")),
      options_(options),
      id_key_(recovered.id_key),
      topics_(topics),
      files_(std::move(files)),
      pool_(std::move(pool)),
      segments_(loop, metrics, log, *pool_, files_, options.segment_bytes, recovered),
      room_waits_(loop),
      window_waits_(loop),
      committer_(std::make_unique<Committer>(
          loop, metrics, recovered.last_batch,
          [this](Result<std::uint64_t> safe, std::uint64_t safe_bytes) { committed(std::move(safe), safe_bytes); })),
      self_(std::make_shared<LogJournal*>(this)),
      tasks_(loop) {
  for (const auto& topic : topics_.all()) {
    if (!topic) continue;
    for (auto seq = topic->next(0); seq; seq = topic->next(*seq + 1)) {
      const Message& message = *topic->find(*seq);
      segments_.add_live(message.place.epoch, message.size_bytes());
      ++live_messages_;
    }
  }
  segments_.on_change([this] {
    tend_segments();
    room_waits_.wake_all();
  });
}

LogJournal::~LogJournal() {
  closing_ = true;
  *self_ = nullptr;
}

Capabilities LogJournal::capabilities() const {
  // A record must fit a segment, with its attributes and beside the header.
  const std::uint64_t largest = options_.segment_bytes / 2 - kEventHeaderBytesMax;
  return {.confirm = Durability::synced,
          .native_delay = true,
          .durable_attempts = true,
          .ordered_keys = true,
          .priorities = true,
          .exact_lag = true,
          .detects_id_reuse = true,
          .lists_waiting = true,
          .bounds_count_dead = true,
          .message_bytes_max = std::min<std::uint64_t>(kEventBytesMax, largest)};
}

bool LogJournal::has_room(std::size_t size_bytes) const {
  constexpr std::size_t kAround = 4096;  // heads, lengths, padding
  return appended_bytes_ - safe_bytes_ < options_.queue_bytes_max && segments_.has_room(size_bytes + kAround);
}

std::optional<Error> LogJournal::trouble() const {
  if (failure()) return failure();
  return segments_.has_room(0) ? std::nullopt : segments_.full();
}

Task<Result<void>> LogJournal::make_room(std::size_t size_bytes) {
  while (!has_room(size_bytes)) {
    if (closing_) co_return fail(Errc::unavailable, "the broker is closing");
    if (failure()) co_return fail(*failure());
    if (segments_.full()) {
      co_return fail(segments_.full()->code, "the log takes no messages: " + segments_.full()->message);
    }
    tend_segments();
    co_await room_waits_.wait();
  }
  co_return Result<void>{};
}

Result<RecordPlace> LogJournal::append(const RecordHead& head, std::string_view body, Urgency urgency) {
  if (closing_) return fail(Errc::unavailable, "the broker is closing");
  if (failure()) return fail(*failure());
  const std::size_t size = padded(kRecordHeadBytes + body.size());
  if (!segments_.fits_active(size)) {
    if (!segments_.can_advance()) {
      return fail(Errc::no_space, "the log has no segment left" +
                                      (segments_.full() ? ": " + segments_.full()->message : std::string()));
    }
    Segment& full = segments_.active();
    committer_->append(full.file, full.header.seed(), full.used_bytes, {.type = RecordType::seal}, {});
    full.used_bytes += kSealBytes;
    appended_bytes_ += kSealBytes;
    add_written();
    segments_.advance();
    if (!segments_.fits_active(size)) return fail(Errc::too_large, "the record does not fit a segment");
  }
  Segment& active = segments_.active();
  const RecordPlace place{.epoch = active.header.epoch, .offset = static_cast<std::uint32_t>(active.used_bytes)};
  committer_->append(active.file, active.header.seed(), active.used_bytes, head, body);
  active.used_bytes += size;
  appended_bytes_ += size;
  add_written();
  unflushed_bytes_ += size;
  schedule_flush(urgency);
  if (unflushed_bytes_ >= kFlushBytes) flush();
  return place;
}

void LogJournal::schedule_flush(Urgency urgency) {
  if (urgency == Urgency::patient) {
    if (!prompt_ && !lingering_) lingering_ = loop_.start_timer(options_.ack_linger, [this] { flush(); });
    return;
  }
  prompt_ = true;
  if (std::exchange(flush_posted_, true)) return;
  // Until then a message's consumer is woken, takes it and has its own record to add: both share a commit.
  loop_.at_rest([self = self_] {
    if (*self == nullptr) return;
    (*self)->flush_posted_ = false;
    if ((*self)->prompt_) (*self)->flush();
    if ((*self)->segments_.wants_prepare()) (*self)->tend_segments();
  });
}

void LogJournal::flush() {
  lingering_.reset();
  prompt_ = false;
  if (std::exchange(unflushed_bytes_, 0) > 0) committer_->flush();
}

void LogJournal::committed(Result<std::uint64_t> safe, std::uint64_t safe_bytes) {
  if (!safe) {
    log_.error("the log is read-only from now on", {{"directory", files_->path_of("")}, {"error", safe.error()}});
    set_failure({.code = Errc::unavailable,
                 .message = "the log in " + files_->path_of("") + " takes nothing more after an error (" +
                            safe.error().message + "); check the disk and start again",
                 .retry_after = {}});
    room_waits_.wake_all();
    return;
  }
  const auto self = self_;
  safe_bytes_ = safe_bytes;
  room_waits_.wake_all();
  set_confirmed(*safe);
  if (*self == nullptr) return;  // somebody who was woken has dropped the broker
  tend_segments();
}

void LogJournal::tend_segments() {
  if (closing_ || failure()) return;
  if (segments_.wants_prepare()) tasks_.spawn(segments_.prepare());
  if (compaction_stuck_ && segments_.live_in_oldest() == 0) {  // nothing is to be read any more
    compaction_stuck_ = false;
    compaction_rest_.reset();
  }
  if (!compacting_ && !compaction_rest_ && segments_.wants_compaction()) tasks_.spawn(compact());
}

Result<void> LogJournal::write_message(const TopicState& topic, Message& message, const StoredMessage& stored,
                                       std::uint32_t content, std::chrono::milliseconds delay) {
  body_.clear();
  encode(body_, MessageBody{.open = message.open,
                            .published_ms = message.published_ms(),
                            .delay_ms = static_cast<std::uint64_t>(delay.count()),
                            .content = content,
                            .priority = stored.priority,
                            .known_until_ms = message.published_ms() + topic.settings.dedupe_window.count(),
                            .key = stored.key,
                            .id = stored.id});
  append_event(body_, stored.event);
  const std::uint64_t seq = topic.next_seq();
  auto place = append({.type = RecordType::message, .topic = topic.id(), .seq = seq}, body_);
  if (!place) return fail(std::move(place.error()));
  message.place = *place;
  message.set_size_bytes(static_cast<std::uint32_t>(kRecordHeadBytes + body_.size()));
  segments_.add_live(place->epoch, message.size_bytes());
  ++live_messages_;
  cache(topic.id(), seq, message.size_bytes());
  return {};
}

Result<void> LogJournal::write_entry(const GroupState& group, const Entry& entry, std::chrono::milliseconds delay) {
  body_.clear();
  encode(body_, EntryBody{.begun = entry.begun,
                          .counters = entry.counters,
                          .redrives = entry.redrives,
                          .written_ms = wall_ms(loop_),
                          .delay_ms = static_cast<std::uint64_t>(delay.count())});
  const auto place = append(head_of(group, RecordType::entry, entry.seq), body_);
  return place ? Result<void>() : fail(place.error());
}

Result<void> LogJournal::write_dead(const GroupState& group, std::uint64_t seq, const DeadEntry& dead) {
  body_.clear();
  encode(body_, dead);
  const auto place = append(head_of(group, RecordType::dead, seq), body_);
  return place ? Result<void>() : fail(place.error());
}

Result<void> LogJournal::write_settled(const GroupState& group, std::uint64_t seq) {
  // Where this was the only message, nobody is about to come along.
  const Urgency urgency = live_messages_ > 1 ? Urgency::patient : Urgency::prompt;
  const auto place = append(head_of(group, RecordType::settled, seq), {}, urgency);
  return place ? Result<void>() : fail(place.error());
}

Result<void> LogJournal::write_purge(const GroupState& group) {
  const auto place = append(head_of(group, RecordType::purge, 0), {});
  return place ? Result<void>() : fail(place.error());
}

Result<std::uint32_t> LogJournal::write_topic(std::uint32_t id, std::uint64_t first_seq, const std::string& name,
                                              const TopicSettings& settings) {
  body_.clear();
  encode(body_, TopicBody{.lease_ms = static_cast<std::uint64_t>(settings.lease.count()),
                          .dedupe_window_ms = static_cast<std::uint64_t>(settings.dedupe_window.count()),
                          .bytes_max = settings.bytes_max,
                          .messages_max = settings.messages_max,
                          .overdue_after_ms = static_cast<std::uint64_t>(settings.overdue_after.count()),
                          .name = name});
  const auto place = append({.type = RecordType::topic, .topic = id, .seq = first_seq}, body_);
  if (!place) return fail(place.error());
  return place->epoch;
}

Result<void> LogJournal::write_topic_removed(std::uint32_t id) {
  body_.clear();
  encode(body_, TopicBody{});
  const auto place = append({.type = RecordType::topic, .topic = id}, body_);
  return place ? Result<void>() : fail(place.error());
}

Result<std::uint32_t> LogJournal::write_group(std::uint32_t topic, std::size_t index, const std::string& name) {
  return append_group(topic, index, {.says = GroupBody::Says::added, .name = name});
}

Result<std::uint32_t> LogJournal::write_group_removed(const GroupState& group) {
  return append_group(group.topic_id(), group.index(), {.says = GroupBody::Says::removed, .name = {}});
}

Result<std::uint32_t> LogJournal::append_group(std::uint32_t topic, std::size_t index, const GroupBody& body) {
  body_.clear();
  encode(body_, body);
  const auto place =
      append({.type = RecordType::group, .group = static_cast<std::uint16_t>(index), .topic = topic}, body_);
  if (!place) return fail(place.error());
  return place->epoch;
}

void LogJournal::freed(const Message& message) {
  segments_.remove_live(message.place.epoch, message.size_bytes());
  --live_messages_;
  // Whether a segment became free is looked at when the change that freed it is safe.
}

void LogJournal::cache(std::uint32_t topic, std::uint64_t seq, std::uint32_t size_bytes) {
  cached_.push_back({.topic = topic, .seq = seq, .size_bytes = size_bytes + kContentBytes});
  cached_bytes_ += cached_.back().size_bytes;
  // The newest stays whatever its size: somebody is about to use it.
  while (cached_.size() > 1 && (cached_bytes_ > options_.cache_bytes_max || cached_.size() > kCachedMax)) {
    const Cached oldest = cached_.front();
    cached_.pop_front();
    cached_bytes_ -= oldest.size_bytes;
    topics_.find(oldest.topic)->drop_content(oldest.seq);
  }
}

Task<void> LogJournal::close() {
  flush();
  const auto confirmed = co_await confirm();
  if (!confirmed) log_.error("the log could not be closed in order", {{"error", confirmed.error()}});
  closing_ = true;
  compaction_rest_.reset();
  room_waits_.wake_all();
  window_waits_.wake_all();
  tasks_.request_stop();
  co_await tasks_.join();
}

}  // namespace millrace::wal
