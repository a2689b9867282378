#include "broker/log/segment_set.h"

#include <algorithm>
#include <random>
#include <utility>

namespace millrace::wal {
namespace {

constexpr std::chrono::seconds kFullRetry{1};
// A log this many segments larger than what counts in it is compacted even where everything in it is small.
constexpr std::uint64_t kSlackSegments = 4;

std::string spare_name(std::uint32_t epoch) {
  return std::string(kSpareName) + segment_name(epoch);
}

Result<std::string> retire(LogFiles& files, const std::string& name, const std::string& spare, bool keep) {
  if (auto renamed = files.rename(name, spare); !renamed) return fail(std::move(renamed.error()));
  // Before the file is written anew: a log name must never stand for other contents.
  if (auto synced = files.sync(); !synced) return fail(std::move(synced.error()));
  if (keep) return spare;
  if (auto removed = files.remove(spare); !removed) return fail(std::move(removed.error()));
  return std::string();
}

}  // namespace

std::uint64_t random_salt() {
  std::random_device device;
  return static_cast<std::uint64_t>(device()) << 32 | device();
}

Result<Segment> make_segment(LogFiles& files, const std::string& spare, const SegmentHeader& header) {
  const std::string temporary = spare.empty() ? spare_name(header.epoch) : spare;
  auto file = spare.empty() ? files.create(temporary) : files.open(temporary);
  if (!file) return fail(std::move(file.error()));
  if (spare.empty()) {
    if (auto allocated = (*file)->allocate(header.segment_bytes); !allocated) {
      static_cast<void>(files.remove(temporary));  // gives back what blocks it got
      return fail(std::move(allocated.error()));
    }
  }
  if (auto written = (*file)->write(encode_header(header), 0); !written) return fail(std::move(written.error()));
  if (auto synced = (*file)->sync(); !synced) return fail(std::move(synced.error()));
  const std::string name = segment_name(header.epoch);
  if (auto renamed = files.rename(temporary, name); !renamed) return fail(std::move(renamed.error()));
  if (auto synced = files.sync(); !synced) return fail(std::move(synced.error()));
  return Segment{.file = std::move(*file), .name = name, .header = header};
}

SegmentSet::SegmentSet(EventLoop& loop, Metrics& metrics, Log& log, BlockingPool& pool, std::shared_ptr<LogFiles> files,
                       std::uint64_t segment_bytes, const Recovered& recovered)
    : loop_(loop),
      log_(log),
      segments_gauge_(metrics.gauge("millrace_log_segments", "segments of the embedded log that hold something")),
      full_gauge_(metrics.gauge("millrace_log_full", "1 while the embedded log finds no space on its disk")),
      pool_(pool),
      files_(std::move(files)),
      segment_bytes_(segment_bytes),
      id_key_(recovered.id_key),
      prepared_(recovered.prepared.begin(), recovered.prepared.end()),
      spares_(recovered.spares) {
  for (const auto& [epoch, segment] : recovered.segments) {
    segments_.emplace(epoch, Kept{.segment = segment});
    used_bytes_ += segment.used_bytes;
  }
  used_bytes_ -= active().used_bytes;
  segments_gauge_.set(static_cast<std::int64_t>(segments_.size()));
}

const Segment* SegmentSet::find(std::uint32_t epoch) const {
  const auto found = segments_.find(epoch);
  return found == segments_.end() ? nullptr : &found->second.segment;
}

// One of an older format is sealed instead: what it says is what that format can say.
bool SegmentSet::takes_records() const {
  return active().header.version == kFormatVersion;
}

bool SegmentSet::fits_active(std::uint64_t size) const {
  const Segment& active = segments_.rbegin()->second.segment;
  return takes_records() && active.used_bytes + size + kSealBytes <= active.header.segment_bytes;
}

void SegmentSet::advance() {
  used_bytes_ += active().used_bytes;
  Segment next = std::move(prepared_.front());
  prepared_.pop_front();
  const std::uint32_t epoch = next.header.epoch;
  segments_.emplace(epoch, Kept{.segment = std::move(next)});
  segments_gauge_.set(static_cast<std::int64_t>(segments_.size()));
}

// The reserve always; one more in good time before the active segment is full.
std::size_t SegmentSet::wanted() const {
  const Segment& active = segments_.rbegin()->second.segment;
  return active.used_bytes > active.header.segment_bytes / 4 || !takes_records() ? 2 : 1;
}

Task<void> SegmentSet::prepare() {
  if (preparing_) co_return;
  preparing_ = true;
  while (prepared_.size() < wanted()) {
    const std::uint32_t last = prepared_.empty() ? segments_.rbegin()->first : prepared_.back().header.epoch;
    const SegmentHeader header{.epoch = last + 1,
                               .oldest = oldest(),
                               .segment_bytes = segment_bytes_,
                               .salt = random_salt(),
                               .id_key = id_key_};
    std::string spare;
    if (!spares_.empty()) {
      spare = std::move(spares_.back());
      spares_.pop_back();
    }
    auto made = co_await pool_.run([files = files_, spare, header] { return make_segment(*files, spare, header); });
    if (!made) {
      if (!full_) log_.error("the log cannot get a new segment", {{"error", made.error()}});
      if (!spare.empty()) spares_.push_back(std::move(spare));
      full_ = std::move(made.error());
      full_gauge_.set(1);
      retry_due_ = false;
      retry_ = loop_.start_timer(kFullRetry, [this] {
        retry_due_ = true;
        if (changed_) changed_();
      });
      break;
    }
    if (full_) log_.info("the log has space again");
    full_.reset();
    full_gauge_.set(0);
    prepared_.push_back(std::move(*made));
    if (changed_) changed_();
  }
  preparing_ = false;
  if (full_ && changed_) changed_();
}

void SegmentSet::add_live(std::uint32_t epoch, std::uint64_t bytes) {
  live_bytes_ += bytes;
  segments_.at(epoch).live_bytes += bytes;
}

void SegmentSet::remove_live(std::uint32_t epoch, std::uint64_t bytes) {
  live_bytes_ -= bytes;
  segments_.at(epoch).live_bytes -= bytes;
}

bool SegmentSet::wants_compaction() const {
  if (segments_.size() < 2) return false;
  if (live_in_oldest() == 0) return true;
  const std::uint64_t garbage = used_bytes_ > live_bytes_ ? used_bytes_ - live_bytes_ : 0;
  const std::uint64_t slack = full_ ? segment_bytes_ : std::max(kSlackSegments * segment_bytes_, live_bytes_);
  return garbage > slack;
}

Task<void> SegmentSet::release_oldest() {
  const auto first = segments_.begin();
  Segment segment = std::move(first->second.segment);
  used_bytes_ -= segment.used_bytes;
  segments_.erase(first);
  segments_gauge_.set(static_cast<std::int64_t>(segments_.size()));
  const bool keep = segment.header.segment_bytes == segment_bytes_ && spares_.size() < kSparesMax;
  const std::string name = segment.name;
  segment.file.reset();
  const std::string spare = spare_name(segment.header.epoch);
  auto retired = co_await pool_.run([files = files_, name, spare, keep] { return retire(*files, name, spare, keep); });
  if (!retired) {
    log_.warn("a segment of the log that is not needed any more could not be put away", {{"error", retired.error()}});
    co_return;
  }
  if (!retired->empty()) spares_.push_back(std::move(*retired));
  if (changed_) changed_();
}

}  // namespace millrace::wal
