// Giving up old segments: what still counts in the oldest one is copied to the end of the log, then the log says that
// everything before the next segment is not needed, then the file is used again.
//
// Always the oldest: so whatever settles a message stands behind it for as long as the message itself stands. A copy of
// a message carries the groups that still want it and is followed by what they know of it; after that, no record
// between the old place and the new one matters for it.
#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "broker/log/log_journal.h"
#include "broker/log/record_bodies.h"
#include "core/backoff.h"

namespace millrace::wal {
namespace {

constexpr std::size_t kChunkBytes = 2 << 20;  // more than any record
constexpr std::size_t kIdsPerRecord = 1000;
constexpr std::chrono::seconds kCompactionRestMin{1};
constexpr std::chrono::minutes kCompactionRestMax{10};

struct Chunk {
  std::string bytes;
  std::vector<std::pair<RecordPlace, Record>> messages;  // views into bytes
  std::uint64_t next = 0;                                // where to go on
};

Result<std::unique_ptr<Chunk>> read_chunk(LogFile& file, std::uint32_t seed, std::uint32_t epoch, std::uint64_t from,
                                          std::uint64_t to) {
  auto bytes = file.read(from, static_cast<std::size_t>(std::min<std::uint64_t>(to - from, kChunkBytes)));
  if (!bytes) return fail(std::move(bytes.error()));
  auto chunk = std::make_unique<Chunk>();
  chunk->bytes = std::move(*bytes);
  std::size_t at = 0;
  while (at < chunk->bytes.size()) {
    const auto record = read_record(std::string_view(chunk->bytes).substr(at), seed);
    if (!record) break;  // cut off by the end of the chunk
    if (record->head.type == RecordType::message) {
      chunk->messages.emplace_back(RecordPlace{.epoch = epoch, .offset = static_cast<std::uint32_t>(from + at)},
                                   *record);
    }
    at += padded(record->length);
  }
  if (at == 0) {
    return fail(Errc::data_loss,
                "the record at byte " + std::to_string(from) + " of segment " + segment_name(epoch) + " is damaged");
  }
  chunk->next = from + at;
  return chunk;
}

bool says_nothing(const Entry& entry) {
  return !entry.due() && !entry.begun && entry.redrives == 0 && entry.counters.failures == 0 &&
         entry.counters.losses == 0;
}

}  // namespace

Task<void> LogJournal::compact() {
  compacting_ = true;
  while (!closing_ && !failure() && segments_.wants_compaction()) {
    const std::uint32_t epoch = segments_.oldest();
    auto emptied = co_await empty_oldest(epoch);
    if (!emptied) {
      if (!closing_ && !failure()) {
        log_.error("the oldest segment of the log cannot be emptied",
                   {{"segment", segment_name(epoch)}, {"error", emptied.error()}});
        // Want of space has its own way to try again.
        if (emptied.error().code != Errc::no_space) compact_later();
      }
      break;
    }
    compaction_failures_ = 0;
    compaction_failing_.set(0);
    co_await segments_.release_oldest();
  }
  compacting_ = false;
}

void LogJournal::compact_later() {
  compaction_failing_.set(1);
  compaction_stuck_ = segments_.live_in_oldest() > 0;
  const auto rest = Backoff::ceiling(kCompactionRestMin, kCompactionRestMax, ++compaction_failures_);
  compaction_rest_ = loop_.start_timer(rest, [this] {
    compaction_rest_.reset();
    if (!segments_.wants_compaction()) compaction_failing_.set(0);  // what it was for is settled
    tend_segments();
  });
}

Task<Result<void>> LogJournal::empty_oldest(std::uint32_t epoch) {
  auto settled = co_await confirm();
  if (!settled) co_return settled;
  auto copied = co_await copy_messages(epoch);
  if (!copied) co_return copied;
  auto catalog = co_await copy_catalog(epoch);
  if (!catalog) co_return catalog;
  if (segments_.live_in_oldest() != 0) co_return fail(Errc::internal, "messages are left in the segment");
  if (auto trimmed = append({.type = RecordType::trim, .seq = epoch + 1}, {}); !trimmed) {
    co_return fail(trimmed.error());
  }
  auto confirmed = co_await confirm();
  co_return confirmed;
}

Task<Result<void>> LogJournal::copy_messages(std::uint32_t epoch) {
  const Segment segment = *segments_.find(epoch);
  for (std::uint64_t at = kSegmentHeaderBytes; at < segment.used_bytes && segments_.live_in_oldest() > 0;) {
    auto chunk = co_await pool_->run([file = segment.file, seed = segment.header.seed(), epoch, at,
                                      to = segment.used_bytes] { return read_chunk(*file, seed, epoch, at, to); });
    if (!chunk) co_return fail(std::move(chunk.error()));
    for (const auto& [place, record] : (*chunk)->messages) {
      if (auto copied = copy_message(record, place); !copied) co_return copied;
    }
    at = (*chunk)->next;
    auto confirmed = co_await confirm();  // not faster than the disk
    if (!confirmed) co_return confirmed;
  }
  co_return Result<void>{};
}

Result<void> LogJournal::copy_message(const Record& record, RecordPlace place) {
  TopicState* topic = topics_.find(record.head.topic);
  Message* message = topic == nullptr ? nullptr : topic->find(record.head.seq);
  if (message == nullptr || message->place != place) return {};
  auto body = decode_message(record.body);
  if (!body) return fail(std::move(body.error()));
  body->open = message->open;
  body_.clear();
  encode(body_, *body);
  const auto copy = append(record.head, body_);
  if (!copy) return fail(copy.error());
  segments_.remove_live(place.epoch, message->size_bytes());
  segments_.add_live(copy->epoch, message->size_bytes());
  message->place = *copy;

  for (const auto& group : topic->groups()) {
    if (const Entry* entry = group->find(record.head.seq); entry != nullptr && !says_nothing(*entry)) {
      const auto left = entry->due().value_or(loop_.now()) - loop_.now();
      const auto delay = std::chrono::ceil<std::chrono::milliseconds>(std::max(left, EventLoop::Duration(0)));
      if (auto written = write_entry(*group, *entry, delay); !written) return written;
    }
    if (const DeadEntry* dead = group->find_dead(record.head.seq)) {
      if (auto written = write_dead(*group, record.head.seq, *dead); !written) return written;
    }
  }
  return {};
}

Task<Result<void>> LogJournal::copy_catalog(std::uint32_t epoch) {
  for (std::uint32_t id = 0; id < topics_.all().size(); ++id) {
    TopicState* topic = topics_.find(id);
    // Of one that was removed nothing stands behind the record that says so.
    if (topic == nullptr || topic->is_removed()) continue;
    if (topic->recorded_in <= epoch) {
      const auto written = write_topic(topic->id(), topic->first_seq(), topic->name(), topic->settings);
      if (!written) co_return fail(written.error());
      topic->recorded_in = *written;
    }
    for (const auto& group : topic->groups()) {
      if (group->recorded_in > epoch) continue;
      const auto says = group->is_removed() ? GroupBody::Says::removed : GroupBody::Says::name;
      const auto written = append_group(topic->id(), group->index(), {.says = says, .name = group->name()});
      if (!written) co_return fail(written.error());
      group->recorded_in = *written;
    }
    auto copied = co_await copy_ids(*topic, epoch);
    if (!copied) co_return copied;
  }
  co_return Result<void>{};
}

Task<Result<void>> LogJournal::copy_ids(TopicState& topic, std::uint32_t epoch) {
  for (;;) {
    const auto now = loop_.now();
    const auto known = topic.dedupe.only_in(epoch, now, kIdsPerRecord);
    if (known.empty()) co_return Result<void>{};
    std::vector<KnownId> ids;
    ids.reserve(known.size());
    const auto wall = std::chrono::duration_cast<std::chrono::milliseconds>(loop_.wall_now().time_since_epoch());
    for (const auto& entry : known) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(entry.until - now);
      ids.push_back({.id = entry.id, .content = entry.content, .until_ms = (wall + left).count()});
    }
    body_.clear();
    encode(body_, ids);
    const auto place = append({.type = RecordType::ids, .topic = topic.id()}, body_);
    if (!place) co_return fail(place.error());
    topic.dedupe.moved(place->epoch);
    auto confirmed = co_await confirm();
    if (!confirmed) co_return confirmed;
  }
}

}  // namespace millrace::wal
