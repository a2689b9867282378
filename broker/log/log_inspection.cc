#include "broker/log/log_inspection.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "broker/log/batch_reader.h"
#include "broker/log/record_bodies.h"
#include "broker/log/recovery.h"
#include "broker/log/segment_format.h"

namespace millrace {
namespace wal {
namespace {

// What follows damage, and what stood before it: the messages between the two may be in it.
class Survey {
 public:
  explicit Survey(DamagedPlace place) : place_(std::move(place)), place_epoch_(epoch_of(place_.file).value_or(0)) {}

  // Segments in the order of their epochs.
  void add(const std::string& name, const SegmentHeader& header, std::string_view bytes, InspectedSegment& into) {
    BatchReader reader(bytes, header.seed(), 0);
    std::vector<BatchReader::Item> batch;
    bool sealed = false;
    while (!sealed && reader.next(batch)) {
      for (const auto& item : batch) {
        see(item.record, header.epoch, item.offset);
        sealed = item.record.head.type == RecordType::seal;
      }
      last_batch_ = reader.last_batch();
    }
    into.used_bytes = reader.at();
    if (sealed) return;
    std::size_t expected = reader.at();
    std::optional<std::size_t> gap_to;
    reader.each_leftover(reader.at(), false, [&](const Record& record, std::size_t at) {
      see(record, header.epoch, at);
      if (!gap_to && at > expected) gap_to = at;
      if (!gap_to) expected = at + padded(record.length);
    });
    if (name != place_.file || place_.offset == 0) return;
    from_ = expected;
    to_ = gap_to.value_or(bytes.size());
    // Where only bodies are damaged, the heads say exactly what they were about; where nothing follows in this file,
    // more may be missing than is there.
    exact_ = from_ < to_ && gap_to;
    std::size_t at = from_;
    while (at < to_) {
      const auto head = read_head(bytes.substr(at), header.seed());
      if (!head) {
        exact_ = false;
        at += 8;
        continue;
      }
      at += padded(head->length);
      if (head->head.type == RecordType::seal || head->head.type == RecordType::trim) continue;
      const bool of_message = head->head.type <= RecordType::settled;
      hit(head->head.topic, of_message ? std::optional(head->head.seq) : std::nullopt);
    }
    exact_ = exact_ && at == to_;
  }

  [[nodiscard]] std::uint64_t last_batch() const { return last_batch_; }

  [[nodiscard]] LogDamage result(std::string message) const {
    LogDamage damage{.message = std::move(message),
                     .file = place_.file,
                     .offset = place_.offset,
                     .unreadable_from = from_,
                     .unreadable_to = to_,
                     .affected = {}};
    if (place_.file.empty()) return damage;
    for (const auto& [number, seen] : topics_) {
      std::optional<std::uint64_t> first = seen.hit_first;
      std::optional<std::uint64_t> last = seen.hit_last;
      bool open_ended = false;
      if (!exact_ && seen.before) {
        const std::uint64_t next = *seen.before + 1;
        open_ended = !seen.after;
        if (open_ended || *seen.after > next) first = std::min(first.value_or(next), next);
        if (seen.after && *seen.after > next) last = std::max(last.value_or(next), *seen.after - 1);
      }
      if (!first && !seen.hit) continue;
      damage.affected.push_back({.name = seen.name.empty() ? "number " + std::to_string(number) : seen.name,
                                 .first = first.value_or(0),
                                 .last = open_ended ? std::nullopt : last});
    }
    return damage;
  }

 private:
  struct Seen {
    std::string name;
    std::optional<std::uint64_t> before;  // the greatest message before the damage
    std::optional<std::uint64_t> after;   // the first behind it that is greater
    bool hit = false;                     // a record about it is damaged
    std::optional<std::uint64_t> hit_first;
    std::optional<std::uint64_t> hit_last;
  };

  void see(const Record& record, std::uint32_t epoch, std::size_t offset) {
    if (record.head.type == RecordType::seal || record.head.type == RecordType::trim) return;
    Seen& seen = topics_[record.head.topic];
    if (record.head.type == RecordType::topic) {
      if (const auto body = decode_topic(record.body)) seen.name = std::string(body->name);
    }
    if (record.head.type != RecordType::message) return;
    const bool before = std::pair<std::uint64_t, std::uint64_t>(epoch, offset) <
                        std::pair<std::uint64_t, std::uint64_t>(place_epoch_, place_.offset);
    if (before) {
      seen.before = std::max(seen.before.value_or(0), record.head.seq);
    } else if (!seen.after && (!seen.before || record.head.seq > *seen.before)) {
      seen.after = record.head.seq;
    }
  }

  void hit(std::uint32_t topic, std::optional<std::uint64_t> seq) {
    Seen& seen = topics_[topic];
    seen.hit = true;
    if (!seq) return;
    seen.hit_first = std::min(seen.hit_first.value_or(*seq), *seq);
    seen.hit_last = std::max(seen.hit_last.value_or(*seq), *seq);
  }

  DamagedPlace place_;
  std::uint32_t place_epoch_;
  std::map<std::uint32_t, Seen> topics_;
  std::uint64_t last_batch_ = 0;
  std::uint64_t from_ = 0;
  std::uint64_t to_ = 0;
  bool exact_ = false;
};

class Inspection {
 public:
  Inspection(LogFiles& files, std::chrono::system_clock::time_point now) : files_(files), now_(now) {}

  Result<LogInspection> run() {
    if (auto free = files_.lock(); !free) return fail(std::move(free.error()));
    if (auto ok = list(); !ok) return fail(std::move(ok.error()));
    DamagedPlace place;
    auto recovered = recover(
        files_,
        {.segment_bytes = 0, .dedupe_ids_max = 1, .now = {}, .wall_now = now_, .look_only = true, .damage = &place});
    if (recovered) {
      if (auto ok = fill_in(*recovered); !ok) return fail(std::move(ok.error()));
    } else if (recovered.error().code == Errc::data_loss) {
      if (auto ok = survey(place, recovered.error().message); !ok) return fail(std::move(ok.error()));
    } else {
      return fail(std::move(recovered.error()));
    }
    // Whatever was read means nothing if somebody wrote meanwhile.
    if (auto still_free = files_.lock(); !still_free) return fail(std::move(still_free.error()));
    return std::move(result_);
  }

 private:
  Result<void> list() {
    auto names = files_.list();
    if (!names) return fail(std::move(names.error()));
    std::ranges::sort(*names);
    bool any = false;
    for (const auto& name : *names) {
      const auto epoch = epoch_of(name);
      const bool spare = is_spare(name);
      if (!epoch && !spare) {
        if (name != kLogLockFile) result_.other_files.push_back(name);
        continue;
      }
      any = any || epoch;
      const auto file = files_.open(name);
      if (!file) return fail(file.error());
      const auto size = (*file)->size();
      if (!size) return fail(size.error());
      result_.segments.push_back({.file = name,
                                  .state = spare ? SegmentState::spare : SegmentState::unknown,
                                  .epoch = epoch.value_or(0),
                                  .size_bytes = *size});
    }
    if (!any)
      return fail(Errc::not_found, "there is no log in " + files_.path_of("") + ": no file is called log-<epoch>");
    return {};
  }

  Result<void> fill_in(Recovered& recovered) {
    result_.format_version =
        recovered.segments.empty() ? kFormatVersion : recovered.segments.rbegin()->second.header.version;
    result_.last_batch = recovered.last_batch;
    result_.messages = recovered.messages;
    std::map<std::uint32_t, std::uint64_t> live;
    for (const auto& topic : recovered.topics->all()) {
      if (!topic) continue;
      for (auto seq = topic->next(0); seq; seq = topic->next(*seq + 1)) {
        const Message& message = *topic->find(*seq);
        live[message.place.epoch] += message.size_bytes();
      }
    }
    for (auto& segment : result_.segments) {
      if (segment.state == SegmentState::spare) continue;
      const auto kept = recovered.segments.find(segment.epoch);
      if (kept != recovered.segments.end()) {
        const bool last = std::next(kept) == recovered.segments.end();
        segment.state = last ? SegmentState::active : SegmentState::full;
        segment.used_bytes = kept->second.used_bytes;
        segment.live_bytes = live[segment.epoch];
      } else {
        const bool later = recovered.segments.empty() || segment.epoch > recovered.segments.rbegin()->first;
        segment.state = later ? SegmentState::empty : SegmentState::given_up;
        segment.used_bytes = later ? kSegmentHeaderBytes : 0;
      }
    }
    fill_in_topics(recovered);
    return recovered.segments.empty() ? Result<void>() : look_at_tail(recovered);
  }

  void fill_in_topics(Recovered& recovered) {
    std::map<const GroupState*, std::vector<const Entry*>> begun;
    for (const auto& [group, entry] : recovered.cut_off) begun[group].push_back(entry);
    for (const auto& [name, topic] : recovered.topics->by_name()) {
      InspectedTopic inspected{
          .name = name, .messages = topic->size(), .size_bytes = topic->size_bytes(), .groups = {}};
      for (const auto& group : topic->groups()) {
        if (group->is_removed()) continue;
        const Lag lag = group->lag(now_);
        InspectedGroup& into = inspected.groups.emplace_back();
        into = {.name = group->name(), .pending = lag.pending + lag.blocked, .delayed = lag.delayed, .dead = lag.dead};
        if (lag.open() > 0) into.oldest = lag.oldest;
        // Recovery has put them back already.
        for (const Entry* entry : begun[group.get()]) {
          ++into.in_work;
          --(entry->state == Entry::State::delayed ? into.delayed : into.pending);
        }
      }
      result_.topics.push_back(std::move(inspected));
    }
  }

  // Recovery counts what is readable behind the end; the head of a record whose body did not arrive tells as much.
  Result<void> look_at_tail(const Recovered& recovered) {
    const Segment& active = recovered.segments.rbegin()->second;
    result_.torn_bytes = recovered.dropped_bytes;
    if (result_.torn_bytes == 0) {
      const auto bytes = active.file->read(active.used_bytes, kRecordHeadBytes);
      if (!bytes) return fail(bytes.error());
      const auto head = read_head(*bytes, active.header.seed());
      if (head && head->head.batch == recovered.last_batch + 1) {
        result_.torn_bytes =
            std::min<std::uint64_t>(padded(head->length), active.header.segment_bytes - active.used_bytes);
      }
    }
    if (result_.torn_bytes == 0) return {};
    result_.health = LogHealth::torn;
    result_.torn_file = active.name;
    result_.torn_from = active.used_bytes;
    return {};
  }

  Result<void> survey(const DamagedPlace& place, const std::string& message) {
    result_.health = LogHealth::damaged;
    result_.format_version = kFormatVersion;
    Survey found(place);
    for (auto& segment : result_.segments) {
      if (segment.state == SegmentState::spare) continue;
      const auto file = files_.open(segment.file);
      if (!file) return fail(file.error());
      auto bytes = (*file)->read(0, kSegmentHeaderBytes);
      if (!bytes) return fail(bytes.error());
      const auto header = decode_header(*bytes);
      if (!header || header->epoch != segment.epoch) continue;
      result_.format_version = header->version;
      bytes = (*file)->read(0, header->segment_bytes);
      if (!bytes) return fail(bytes.error());
      found.add(segment.file, *header, *bytes, segment);
    }
    result_.last_batch = found.last_batch();
    result_.damage = found.result(message);
    return {};
  }

  LogFiles& files_;
  std::chrono::system_clock::time_point now_;
  LogInspection result_;
};

}  // namespace
}  // namespace wal

std::string_view name_of(LogHealth health) {
  switch (health) {
    case LogHealth::whole: return "whole";
    case LogHealth::torn: return "torn";
    case LogHealth::damaged: return "damaged";
  }
  return "unknown";
}

std::string_view name_of(SegmentState state) {
  switch (state) {
    case SegmentState::full: return "full";
    case SegmentState::active: return "active";
    case SegmentState::empty: return "empty";
    case SegmentState::given_up: return "given up";
    case SegmentState::spare: return "spare";
    case SegmentState::unknown: return "unknown";
  }
  return "unknown";
}

Result<LogInspection> inspect_log(LogFiles& files, std::chrono::system_clock::time_point now) {
  return wal::Inspection(files, now).run();
}

}  // namespace millrace
