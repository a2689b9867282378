#include "broker/log/recovery.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <optional>
#include <utility>

#include "broker/log/batch_reader.h"
#include "broker/log/replay.h"
#include "broker/log/segment_window.h"

namespace millrace::wal {
namespace {

constexpr std::string_view kSegmentPrefix = "log-";
constexpr std::string_view kLostAndFound = "lost+found";  // where the log is a file system of its own

class Recovery {
 public:
  Recovery(LogFiles& files, const RecoveryOptions& options) : files_(files), options_(options) {}

  Result<Recovered> run() {
    if (auto ok = open_files(); !ok) return fail(std::move(ok.error()));
    result_.topics = std::make_unique<TopicTable>(options_.dedupe_ids_max);
    Replay replay(*result_.topics, result_.id_key, options_.wall_now, options_.now);
    for (auto& [epoch, segment] : found_) {
      if (auto ok = read_segment(segment, replay); !ok) return fail(std::move(ok.error()));
    }
    if (auto ok = sort_out(replay.oldest()); !ok) return fail(std::move(ok.error()));
    if (auto ok = replay.check_complete(); !ok) return fail(ok.error().with(files_.path_of("")));
    if (auto ok = options_.look_only ? Result<void>() : clear_tail(); !ok) return fail(std::move(ok.error()));
    for (const auto& topic : result_.topics->all()) {
      if (!topic) continue;
      result_.messages += topic->size();
      std::ranges::move(topic->recover(), std::back_inserter(result_.cut_off));
    }
    return std::move(result_);
  }

 private:
  struct Found {
    Segment segment;
    bool empty = true;  // no whole batch
    bool sealed = false;
    std::size_t zero_from = 0;  // readable rests of an unfinished batch: from here
    std::size_t zero_to = 0;    // to here
  };

  [[nodiscard]] Error damage(const Segment& segment, std::size_t offset, std::string_view what) const {
    if (options_.damage != nullptr) *options_.damage = {.file = segment.name, .offset = offset};
    return {.code = Errc::data_loss,
            .message = files_.path_of(segment.name) + " is damaged at byte " + std::to_string(offset) + ": " +
                       std::string(what) +
                       "; nothing was changed: `millrace log verify` says which messages are affected; restore the "
                       "directory from a copy",
            .retry_after = {}};
  }

  Result<void> open_files() {
    auto names = files_.list();
    if (!names) return fail(std::move(names.error()));
    std::ranges::sort(*names);
    for (const auto& name : *names) {
      const auto epoch = epoch_of(name);
      if (is_spare(name)) {
        result_.spares.push_back(name);
      } else if (!epoch && name != kLogLockFile && name != kLostAndFound) {
        result_.foreign.push_back(name);
      }
      if (!epoch) continue;
      auto file = files_.open(name);
      if (!file) return fail(std::move(file.error()));
      auto bytes = (*file)->read(0, kSegmentHeaderBytes);
      if (!bytes) return fail(std::move(bytes.error()));
      auto header = decode_header(*bytes);
      if (!header) {
        if (options_.damage != nullptr) *options_.damage = {.file = name, .offset = 0};
        return fail(header.error().with(files_.path_of(name)));
      }
      Segment segment{.file = std::move(*file), .name = name, .header = *header};
      if (header->epoch != *epoch) {
        return fail(damage(segment, 0, "its header says epoch " + std::to_string(header->epoch)));
      }
      if (!found_.empty() && header->id_key != result_.id_key) {
        return fail(damage(segment, 0, "it belongs to another log"));
      }
      result_.id_key = header->id_key;
      found_.emplace(*epoch, Found{.segment = std::move(segment)});
    }
    return {};
  }

  struct Leftover {           // of a batch that was never finished, or behind damage
    std::size_t end = 0;      // behind the last readable record
    std::uint64_t batch = 0;  // the greatest number of one
  };

  static Result<void> move(SegmentWindow& window, BatchReader& reader, std::size_t at) {
    if (auto moved = window.move_to(at); !moved) return moved;
    reader.set_window(window.bytes(), window.from());
    return {};
  }

  Result<void> apply_batches(Found& found, BatchReader& reader, Replay& replay) {
    const Segment& segment = found.segment;
    while (!found.sealed && reader.next(batch_)) {
      found.empty = false;
      for (const auto& item : batch_) {
        const RecordPlace place{.epoch = segment.header.epoch, .offset = item.offset};
        if (auto ok = replay.apply(item.record, place); !ok) {
          return fail(damage(segment, item.offset, ok.error().message));
        }
        found.sealed = item.record.head.type == RecordType::seal;
      }
    }
    return {};
  }

  Result<void> read_segment(Found& found, Replay& replay) {
    Segment& segment = found.segment;
    const auto size = segment.file->size();
    if (!size) return fail(size.error());
    if (*size < segment.header.segment_bytes) {
      return fail(damage(segment, *size,
                         "the file ends there, expected " + std::to_string(segment.header.segment_bytes) + " bytes"));
    }
    const bool follows = last_epoch_ != 0 && segment.header.epoch == last_epoch_ + 1;
    SegmentWindow window(*segment.file, kSegmentHeaderBytes, segment.header.segment_bytes, buffer_);
    BatchReader reader({}, segment.header.seed(), follows ? result_.last_batch : 0);
    do {
      if (auto moved = move(window, reader, reader.at()); !moved) return moved;
      if (auto applied = apply_batches(found, reader, replay); !applied) return applied;
    } while (!found.sealed && reader.cut_off() && !window.is_last());
    segment.used_bytes = reader.at();
    const Segment* unsealed_before = follows ? unsealed_ : nullptr;
    if (!found.empty) {
      last_epoch_ = segment.header.epoch;
      result_.last_batch = reader.last_batch();
      unsealed_ = found.sealed ? nullptr : &segment;
    }
    if (found.sealed) return {};
    std::optional<Leftover> rest;
    for (std::size_t at = reader.at();;) {
      at = reader.each_leftover(at, !window.is_last(), [&rest](const Record& record, std::size_t offset) {
        if (!rest) rest.emplace();
        rest->end = offset + padded(record.length);
        rest->batch = std::max(rest->batch, record.head.batch);
      });
      if (window.is_last()) break;
      if (auto moved = move(window, reader, at); !moved) return moved;
    }
    if (!rest) return {};
    // One batch was under way at most: a later number means that this one had been finished. Where a segment starts
    // so, what is missing is the end of the one before it.
    if (rest->batch > reader.last_batch() + 1) {
      const Segment& broken = found.empty && unsealed_before != nullptr ? *unsealed_before : segment;
      return fail(damage(broken, broken.used_bytes,
                         "what stands there is not readable, but batch " + std::to_string(rest->batch) +
                             " behind it is, so it was confirmed"));
    }
    found.zero_from = reader.at();
    found.zero_to = rest->end;
    result_.dropped_bytes += rest->end - reader.at();
    return {};
  }

  // Which segments count, which one goes on, and whether any is missing.
  Result<void> sort_out(std::uint32_t trimmed) {
    std::uint32_t active = found_.empty() ? 0 : found_.begin()->first;  // if none was ever written to
    for (const auto& [epoch, found] : found_) {
      if (!found.empty) active = epoch;
    }
    if (const auto newest = found_.find(active); newest != found_.end()) {
      trimmed = std::max(trimmed, newest->second.segment.header.oldest);
      if (newest->second.sealed && !found_.contains(++active)) {
        return fail(damage(newest->second.segment, newest->second.segment.used_bytes,
                           "the segment that goes on, " + segment_name(active) + ", is missing"));
      }
    }
    std::uint32_t expected = std::max<std::uint32_t>(trimmed, 1);
    for (const auto& [epoch, found] : found_) {
      if (epoch < trimmed) {
        result_.stale.push_back(found.segment.name);
      } else if (epoch > active) {
        keep_prepared(found.segment);
      } else if (epoch != expected) {
        return fail(damage(found.segment, 0, "the segment before it, " + segment_name(expected) + ", is missing"));
      } else if (epoch < active && !found.sealed) {
        return fail(damage(found.segment, found.segment.used_bytes,
                           "what stands there is not readable, but there are later segments"));
      } else {
        result_.segments.emplace(epoch, found.segment);
        ++expected;
      }
    }
    return {};
  }

  // Empty segments to come must follow without a gap, and be of the size and format that are wanted now.
  void keep_prepared(const Segment& segment) {
    const std::uint32_t last =
        result_.prepared.empty() ? result_.segments.rbegin()->first : result_.prepared.back().header.epoch;
    const SegmentHeader& header = segment.header;
    if (header.epoch == last + 1 && header.segment_bytes == options_.segment_bytes &&
        header.version == kFormatVersion) {
      result_.prepared.push_back(segment);
    } else {
      result_.stale.push_back(segment.name);
    }
  }

  // Rests of an unfinished batch must not stand behind what is written next: they would look like damage before them.
  Result<void> clear_tail() {
    for (auto& [epoch, found] : found_) {
      if (found.zero_to == 0) continue;
      const std::string zeros(found.zero_to - found.zero_from, '\0');
      if (auto written = found.segment.file->write(zeros, found.zero_from); !written) return written;
      if (auto synced = found.segment.file->sync(); !synced) return synced;
    }
    return {};
  }

  LogFiles& files_;
  RecoveryOptions options_;
  std::map<std::uint32_t, Found> found_;
  Recovered result_;
  std::uint32_t last_epoch_ = 0;       // with a whole batch
  const Segment* unsealed_ = nullptr;  // that one, where it does not end with a seal
  SegmentWindow::Buffer buffer_;
  std::vector<BatchReader::Item> batch_;
};

}  // namespace

std::optional<std::uint32_t> epoch_of(std::string_view name) {
  if (!name.starts_with(kSegmentPrefix) || name.size() != kSegmentPrefix.size() + 8) return std::nullopt;
  std::uint32_t epoch = 0;
  const auto [end, error] = std::from_chars(name.data() + kSegmentPrefix.size(), name.data() + name.size(), epoch, 16);
  if (error != std::errc() || end != name.data() + name.size() || epoch == 0) return std::nullopt;
  return epoch;
}

bool is_spare(std::string_view name) {
  return name.starts_with(kSpareName) && epoch_of(name.substr(kSpareName.size()));
}

std::string segment_name(std::uint32_t epoch) {
  std::array<char, 16> name{};
  static_cast<void>(std::snprintf(name.data(), name.size(), "log-%08x", epoch));
  return name.data();
}

Result<Recovered> recover(LogFiles& files, const RecoveryOptions& options) {
  return Recovery(files, options).run();
}

}  // namespace millrace::wal
