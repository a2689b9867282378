// Applies the records of a log, in order, to topics.
#pragma once

#include <chrono>
#include <cstdint>

#include "async/event_loop.h"
#include "broker/log/segment_format.h"
#include "broker/topic_state.h"
#include "core/error.h"

namespace millrace::wal {

class Replay {
 public:
  // Times in the log are people's; `wall_now` and `now` are the same moment.
  Replay(TopicTable& topics, IdKey id_key, std::chrono::system_clock::time_point wall_now, EventLoop::TimePoint now);

  // data_loss when a record makes no sense although its checksum is right.
  Result<void> apply(const Record& record, RecordPlace place);

  // The newest `trim` seen: segments before this epoch do not matter.
  [[nodiscard]] std::uint32_t oldest() const { return oldest_; }
  void raise_oldest(std::uint32_t epoch);

  // A topic or group that has contents and no name: the log is incomplete.
  [[nodiscard]] Result<void> check_complete() const;

 private:
  Result<void> apply_message(const Record& record, RecordPlace place);
  Result<void> apply_entry(const Record& record);
  Result<void> apply_dead(const Record& record);
  Result<void> apply_topic(const Record& record, RecordPlace place);
  Result<void> apply_group(const Record& record, RecordPlace place);
  Result<void> apply_ids(const Record& record, RecordPlace place);
  [[nodiscard]] EventLoop::TimePoint loop_time(std::int64_t ms, std::uint64_t span_ms_max) const;
  void remember(TopicState& topic, const DedupeWindow::Entry& entry, std::int64_t until_ms);

  TopicTable& topics_;
  IdKey id_key_;
  std::int64_t wall_now_ms_;
  EventLoop::TimePoint now_;
  std::uint32_t oldest_ = 0;
  std::uint32_t first_epoch_ = UINT32_MAX;  // of the records applied so far
};

}  // namespace millrace::wal
