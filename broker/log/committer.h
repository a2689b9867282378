// Writes records to their segments and syncs them, on a thread of its own: everything that was handed over while the
// last commit ran goes into the next one.
//
//   committer.append(file, seed, offset, head, body);   // as often as wanted within a turn of the loop
//   committer.flush();                                  // now it may be taken
//
// What lies in one segment is one batch with one sync. The results come back to the loop in order: one post a commit.
// append() and flush() are the loop's: only the second takes the lock.
// After an error nothing more is written: what the kernel has of the file is unknown from then on.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "async/event_loop.h"
#include "broker/log/log_files.h"
#include "broker/log/segment_format.h"
#include "core/error.h"
#include "telemetry/metrics.h"

namespace millrace::wal {

class Committer {
 public:
  // How many records are safe, over all time; or the error after which there will be no more.
  using Done = std::move_only_function<void(Result<std::uint64_t> safe, std::uint64_t safe_bytes)>;

  // `last_batch` is the number of the last batch in the log. `done` runs on the loop.
  Committer(EventLoop& loop, Metrics& metrics, std::uint64_t last_batch, Done done);
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;
  ~Committer();  // what was flushed is still written; its results are not reported

  // Records of one file are appended without gaps; a new file's come after all of the old one's.
  void append(const std::shared_ptr<LogFile>& file, std::uint32_t seed, std::uint64_t offset, const RecordHead& head,
              std::string_view body);
  void flush();

 private:
  struct Piece {
    std::shared_ptr<LogFile> file;
    std::uint32_t seed = 0;
    std::uint64_t offset = 0;
    std::uint64_t records = 0;
    std::string bytes;
  };
  static constexpr std::size_t kSpareMax = 8;
  static constexpr std::size_t kSpareBytesMax = 1 << 20;

  void work();
  Result<void> commit(std::vector<Piece>& pieces);
  Result<void> commit_batch(std::span<Piece> pieces);
  void report(Result<std::uint64_t> safe);

  EventLoop& loop_;
  Counter& commits_;
  Counter& committed_bytes_;
  Histogram& sync_seconds_;
  std::shared_ptr<Done> done_;  // shared with the posted results; emptied when the committer goes

  std::vector<Piece> building_;  // the loop's own, as the one below
  std::string next_bytes_;       // empty, with memory

  std::uint64_t last_batch_;  // the thread's own, as the two below
  std::uint64_t safe_records_ = 0;
  std::uint64_t safe_bytes_ = 0;

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::vector<Piece> queued_;
  std::vector<std::string> spare_;  // buffers that keep their memory
  bool flushed_ = false;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace millrace::wal
