// Reading messages back: LogJournal::load().
#include <algorithm>
#include <ranges>
#include <utility>

#include "broker/log/log_journal.h"
#include "broker/log/record_bodies.h"

namespace millrace::wal {
namespace {

// One read of so much serves a backlog that is worked off in order: 250 messages of 1 KiB.
constexpr std::uint64_t kAheadBytes = 256 << 10;

// The messages in `size` bytes from `from`; the first record must be one.
Result<std::vector<Loaded>> read_messages(LogFile& file, std::uint32_t seed, RecordPlace from, std::size_t size) {
  const auto bytes = file.read(from.offset, size);
  if (!bytes) return fail(bytes.error());
  std::vector<Loaded> messages;
  for (std::size_t at = 0; at < bytes->size();) {
    const auto record = read_record(std::string_view(*bytes).substr(at), seed);
    if (!record) break;
    const RecordPlace place{.epoch = from.epoch, .offset = static_cast<std::uint32_t>(from.offset + at)};
    at += padded(record->length);
    if (record->head.type != RecordType::message) continue;
    const auto body = decode_message(record->body);
    if (!body) return fail(body.error());
    auto stored = stored_message(*body);
    if (!stored) return fail(std::move(stored.error()));
    messages.push_back({.topic = record->head.topic,
                        .seq = record->head.seq,
                        .place = place,
                        .stored = std::make_shared<const StoredMessage>(std::move(*stored))});
  }
  if (messages.empty() || messages.front().place != from) {
    return fail(Errc::data_loss, "the record at byte " + std::to_string(from.offset) + " of segment " +
                                     segment_name(from.epoch) + " is damaged");
  }
  return messages;
}

}  // namespace

// A window of a segment while it is read: others that want something in it wait instead of reading it again.
class LogJournal::Reading {
 public:
  Reading(LogJournal& journal, Window window) : self_(journal.self_), window_(window) {
    journal.windows_.push_back(window_);
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;
  ~Reading() {
    LogJournal* journal = *self_;
    if (journal == nullptr) return;
    const auto found = std::ranges::find(journal->windows_, window_);
    if (found != journal->windows_.end()) journal->windows_.erase(found);
    journal->window_waits_.wake_all();
  }

 private:
  std::shared_ptr<LogJournal*> self_;
  Window window_;
};

bool LogJournal::is_being_read(RecordPlace place) const {
  return std::ranges::any_of(windows_, [&](const Window& window) {
    return window.epoch == place.epoch && window.from <= place.offset && place.offset < window.to;
  });
}

// Whether the record may not be in its file yet: what is appended and not safe is the end of the log.
bool LogJournal::is_queued(RecordPlace place) const {
  const std::uint64_t queued = appended_bytes_ - safe_bytes_;
  const Segment& active = segments_.active();
  if (place.epoch == active.header.epoch) return place.offset + queued >= active.used_bytes;
  return queued + kSegmentHeaderBytes > active.used_bytes;
}

Task<Result<void>> LogJournal::load(TopicState& topic, std::uint64_t seq, bool ahead) {
  const Message* message = topic.find(seq);
  while (message != nullptr && !topic.content(seq)) {
    if (is_queued(message->place)) {
      const auto confirmed = co_await confirm();
      if (!confirmed) co_return fail(confirmed.error());
    } else if (is_being_read(message->place)) {
      co_await window_waits_.wait();
    } else {
      break;
    }
    if (closing_) co_return fail(Errc::unavailable, "the broker is closing");
    message = topic.find(seq);
  }
  if (message == nullptr || topic.content(seq)) co_return Result<void>{};

  const RecordPlace place = message->place;
  const Segment* segment = segments_.find(place.epoch);
  if (segment == nullptr) co_return fail(Errc::internal, "a message lies in a segment that was given up");
  const std::uint64_t rest = segment->header.segment_bytes - place.offset;
  const std::uint64_t wanted = std::max<std::uint64_t>(padded(message->size_bytes()), ahead ? kAheadBytes : 0);
  const std::uint64_t size = std::min(rest, wanted);
  const Reading reading(*this, {.epoch = place.epoch, .from = place.offset, .to = place.offset + size});
  auto loaded = co_await pool_->run([file = segment->file, seed = segment->header.seed(), place, size] {
    return read_messages(*file, seed, place, size);
  });
  if (!loaded) {
    message = topic.find(seq);
    if (message == nullptr || message->place != place) co_return Result<void>{};  // it was moved meanwhile
    log_.error("a message cannot be read back", {{"topic", topic.name()}, {"error", loaded.error()}});
    co_return fail(std::move(loaded.error()));
  }
  // The one that was asked for comes last, so that no other pushes it out of the cache.
  for (const auto& each : std::views::reverse(*loaded)) keep(each);
  co_return Result<void>{};
}

void LogJournal::keep(const Loaded& loaded) {
  TopicState* topic = topics_.find(loaded.topic);
  Message* message = topic == nullptr ? nullptr : topic->find(loaded.seq);
  if (message == nullptr || topic->content(loaded.seq) || message->place != loaded.place) return;
  topic->keep_content(loaded.seq, loaded.stored);
  cache(loaded.topic, loaded.seq, message->size_bytes());
}

}  // namespace millrace::wal
