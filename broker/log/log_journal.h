// The journal of the log broker: every change becomes a record, confirmed when its batch is on stable storage.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "async/blocking_pool.h"
#include "async/task_group.h"
#include "broker/journal.h"
#include "broker/log/committer.h"
#include "broker/log/log_files.h"
#include "broker/log/record_bodies.h"
#include "broker/log/recovery.h"
#include "broker/log/segment_set.h"
#include "broker/wait_list.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace::wal {

struct JournalOptions {
  std::uint64_t segment_bytes = 64ULL << 20;
  std::uint64_t cache_bytes_max = 4ULL << 20;   // of message contents kept in memory
  std::uint64_t queue_bytes_max = 16ULL << 20;  // waiting for a commit; further publishes wait
  std::chrono::milliseconds ack_linger{2};      // how long an ack waits for others to share its sync with
};

struct Loaded {
  std::uint32_t topic = 0;
  std::uint64_t seq = 0;
  RecordPlace place;
  std::shared_ptr<const StoredMessage> stored;
};

class LogJournal final : public Journal {
 public:
  LogJournal(EventLoop& loop, Metrics& metrics, Log& log, JournalOptions options, std::unique_ptr<BlockingPool> pool,
             std::shared_ptr<LogFiles> files, const Recovered& recovered, TopicTable& topics);
  ~LogJournal() override;

  Capabilities capabilities() const override;
  IdKey id_key() const override { return id_key_; }

  bool has_room(std::size_t size_bytes) const override;
  std::optional<Error> trouble() const override;
  Task<Result<void>> make_room(std::size_t size_bytes) override;

  Result<void> write_message(const TopicState& topic, Message& message, const StoredMessage& stored,
                             std::uint32_t content, std::chrono::milliseconds delay) override;
  Result<void> write_entry(const GroupState& group, const Entry& entry, std::chrono::milliseconds delay) override;
  Result<void> write_dead(const GroupState& group, std::uint64_t seq, const DeadEntry& dead) override;
  Result<void> write_settled(const GroupState& group, std::uint64_t seq) override;
  Result<void> write_purge(const GroupState& group) override;
  Result<std::uint32_t> write_topic(std::uint32_t id, std::uint64_t first_seq, const std::string& name,
                                    const TopicSettings& settings) override;
  Result<std::uint32_t> write_group(std::uint32_t topic, std::size_t index, const std::string& name) override;
  Result<std::uint32_t> write_group_removed(const GroupState& group) override;
  Result<void> write_topic_removed(std::uint32_t id) override;
  void freed(const Message& message) override;

  Task<Result<void>> load(TopicState& topic, std::uint64_t seq, bool ahead) override;
  Task<void> close() override;

 private:
  struct Cached {
    std::uint32_t topic;
    std::uint64_t seq;
    std::uint32_t size_bytes;
  };
  struct Window {  // of a segment, being read
    std::uint32_t epoch;
    std::uint64_t from;
    std::uint64_t to;
    bool operator==(const Window&) const = default;
  };
  class Reading;

  // A patient record rides with the next commit that somebody is in a hurry for, and goes alone after a while.
  enum class Urgency : std::uint8_t { prompt, patient };

  // Adds a record at the end of the log and says where it lies.
  Result<RecordPlace> append(const RecordHead& head, std::string_view body, Urgency urgency = Urgency::prompt);
  Result<std::uint32_t> append_group(std::uint32_t topic, std::size_t index, const GroupBody& body);
  void schedule_flush(Urgency urgency);
  void flush();
  void committed(Result<std::uint64_t> safe, std::uint64_t safe_bytes);
  // Has made, or given up, what the segments want. Wakes nobody: who waits for room calls it before it sleeps.
  void tend_segments();

  void cache(std::uint32_t topic, std::uint64_t seq, std::uint32_t size_bytes);
  void keep(const Loaded& loaded);
  [[nodiscard]] bool is_being_read(RecordPlace place) const;
  [[nodiscard]] bool is_queued(RecordPlace place) const;

  // Empties the oldest segment as long as that is worth it. What a read or damage keeps it from is tried again, at ever
  // longer intervals: a bad moment passes, and a damaged message may be purged.
  Task<void> compact();
  void compact_later();
  Task<Result<void>> empty_oldest(std::uint32_t epoch);
  Task<Result<void>> copy_messages(std::uint32_t epoch);
  Result<void> copy_message(const Record& record, RecordPlace place);
  Task<Result<void>> copy_catalog(std::uint32_t epoch);
  Task<Result<void>> copy_ids(TopicState& topic, std::uint32_t epoch);

  EventLoop& loop_;
  Log& log_;
  Gauge& compaction_failing_;
  JournalOptions options_;
  IdKey id_key_;
  TopicTable& topics_;
  std::shared_ptr<LogFiles> files_;
  std::unique_ptr<BlockingPool> pool_;
  SegmentSet segments_;
  std::uint64_t live_messages_ = 0;
  std::uint64_t appended_bytes_ = 0;
  std::uint64_t safe_bytes_ = 0;
  bool flush_posted_ = false;
  bool prompt_ = false;                           // what is not flushed yet is waited for
  std::size_t unflushed_bytes_ = 0;               // of records appended since the last flush
  std::unique_ptr<EventLoop::Handle> lingering_;  // set while patient records wait for company
  bool compacting_ = false;
  std::uint32_t compaction_failures_ = 0;               // in a row
  std::unique_ptr<EventLoop::Handle> compaction_rest_;  // set until the next try after one
  bool compaction_stuck_ = false;                       // that one was by messages that were needed then
  bool closing_ = false;
  std::string body_;  // scratch, to keep its memory
  std::deque<Cached> cached_;
  std::uint64_t cached_bytes_ = 0;
  std::vector<Window> windows_;
  WaitList room_waits_;
  WaitList window_waits_;
  std::unique_ptr<Committer> committer_;
  std::shared_ptr<LogJournal*> self_;  // for posted steps: null once the journal is gone
  TaskGroup tasks_;
};

}  // namespace millrace::wal
