// The segments of an open log: the one that is written, those kept because something in them still counts, and empty
// ones made ahead of time, so that a full segment never waits for the disk to find blocks.
//
// One empty segment is kept in reserve: publishes leave it alone, so that on a full disk acks still go, and with them
// the way back to free space.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "async/task.h"
#include "broker/log/log_files.h"
#include "broker/log/recovery.h"
#include "core/error.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace::wal {

inline constexpr std::uint64_t kSealBytes = kRecordHeadBytes;
inline constexpr std::size_t kSparesMax = 2;

// Makes an empty segment out of a spare file (empty name: out of a new one), under its final name. Blocks.
[[nodiscard]] Result<Segment> make_segment(LogFiles& files, const std::string& spare, const SegmentHeader& header);
[[nodiscard]] std::uint64_t random_salt();

class SegmentSet {
 public:
  // `recovered` has at least one segment.
  SegmentSet(EventLoop& loop, Metrics& metrics, Log& log, BlockingPool& pool, std::shared_ptr<LogFiles> files,
             std::uint64_t segment_bytes, const Recovered& recovered);

  // Runs when a segment was prepared, or could not be.
  void on_change(std::function<void()> callback) { changed_ = std::move(callback); }

  [[nodiscard]] Segment& active() { return segments_.rbegin()->second.segment; }
  [[nodiscard]] const Segment& active() const { return segments_.rbegin()->second.segment; }
  [[nodiscard]] const Segment* find(std::uint32_t epoch) const;  // null when it was given up

  [[nodiscard]] bool fits_active(std::uint64_t size) const;
  // True when a publish of this size leaves the reserve alone.
  [[nodiscard]] bool has_room(std::uint64_t size) const {
    return fits_active(size) ? !prepared_.empty() : prepared_.size() >= 2;
  }
  [[nodiscard]] bool can_advance() const { return !prepared_.empty(); }
  void advance();  // the next segment becomes the active one

  // Why there is no room and none is being made; nothing while there is hope.
  [[nodiscard]] const std::optional<Error>& full() const { return full_; }
  // Makes empty segments as needed. One such task runs at a time; it ends when there are enough or none can be had.
  Task<void> prepare();
  [[nodiscard]] bool wants_prepare() const {
    return !preparing_ && prepared_.size() < wanted() && (!full_ || retry_due_ || !spares_.empty());
  }

  // Accounts of what still counts.
  void add_live(std::uint32_t epoch, std::uint64_t bytes);
  void remove_live(std::uint32_t epoch, std::uint64_t bytes);
  [[nodiscard]] std::uint32_t oldest() const { return segments_.begin()->first; }
  // True when the oldest segment should be emptied: nothing counts in it, or the log has grown out of proportion.
  [[nodiscard]] bool wants_compaction() const;
  // Gives the oldest segment up, after the log says so durably. Its file is used again.
  Task<void> release_oldest();
  [[nodiscard]] std::uint64_t live_in_oldest() const { return segments_.begin()->second.live_bytes; }

 private:
  struct Kept {
    Segment segment;
    std::uint64_t live_bytes = 0;
  };

  [[nodiscard]] bool takes_records() const;
  [[nodiscard]] std::size_t wanted() const;

  EventLoop& loop_;
  Log& log_;
  Gauge& segments_gauge_;
  Gauge& full_gauge_;
  BlockingPool& pool_;
  std::shared_ptr<LogFiles> files_;
  std::uint64_t segment_bytes_;
  IdKey id_key_;
  std::function<void()> changed_;
  std::map<std::uint32_t, Kept> segments_;  // by epoch; the last one is written
  std::deque<Segment> prepared_;
  std::vector<std::string> spares_;
  std::uint64_t live_bytes_ = 0;
  std::uint64_t used_bytes_ = 0;  // of all but the active one
  bool preparing_ = false;
  std::optional<Error> full_;
  bool retry_due_ = false;
  std::unique_ptr<EventLoop::Handle> retry_;
};

}  // namespace millrace::wal
