// What running functions write, while they write it: the last part of each log, for whoever follows. What is kept of a
// run that is over is in its record.
//
//   const auto log = logs.open(run_id, token);      // the invoker, for the time of an attempt
//   log->append(bytes);
//   ...
//   auto piece = co_await logs.next(logs.find(run_id), 0, 15s, stop);
//   next = piece->next;                             // where to go on
//
// Bounds: kKeptBytes of each attempt that is running. A follower has no memory here: one that is slow finds a gap.
// Threads: the domain loop; a log may be dropped on any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"
#include "core/error.h"
#include "core/ids.h"

namespace millrace {

class LiveLog {
 public:
  static constexpr std::size_t kKeptBytes = 64 << 10;

  explicit LiveLog(AttemptToken token) : token_(std::move(token)) {}

  void append(std::string_view bytes);
  void end();  // the attempt is over

  [[nodiscard]] const AttemptToken& token() const { return token_; }

 private:
  friend class LiveLogs;
  void wake();

  AttemptToken token_;
  std::string kept_;         // the last of what was written, up to twice kKeptBytes
  std::uint64_t total_ = 0;  // all that was written
  bool over_ = false;
  std::vector<OneShot<bool>> waiters_;
};

class LiveLogs {
 public:
  struct Piece {
    std::string bytes;
    std::uint64_t skipped = 0;  // before these: written and gone
    std::uint64_t next = 0;     // the offset behind them
    bool over = false;          // nothing follows
  };

  explicit LiveLogs(EventLoop& loop) : loop_(loop) {}

  // Ends with the last copy, or by end().
  [[nodiscard]] std::shared_ptr<LiveLog> open(const RunId& run_id, const AttemptToken& token);
  // Of the attempt that is running; null when none is.
  [[nodiscard]] std::shared_ptr<LiveLog> find(const RunId& run_id);

  // What comes after offset `from`; waits at most `patience` for something, then empty. `cancelled` when stopped.
  [[nodiscard]] Task<Result<Piece>> next(std::shared_ptr<LiveLog> log, std::uint64_t from, EventLoop::Duration patience,
                                         std::stop_token stop);

 private:
  EventLoop& loop_;
  std::unordered_map<RunId, std::weak_ptr<LiveLog>> logs_;
  std::size_t sweep_at_ = 256;  // entries without a log are thrown out when there are so many
};

}  // namespace millrace
