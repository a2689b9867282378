// The run feed: runs as they go, for those who watch. Every reader has a bounded queue of its own; one that is too slow
// misses the oldest news and is told how many.
//
//   auto reader = feed.open("thumbs");                          // "" for all functions
//   auto batch = co_await feed.next(*reader, 15s, stop);         // Result<Batch>, empty after 15 s of silence
//
// Without readers news cost nothing. A reader goes with its last shared_ptr, dropped on whichever thread.
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"
#include "core/error.h"
#include "engine/live_run.h"
#include "telemetry/metrics.h"

namespace millrace {

struct RunNews {
  LiveRun run;
  std::optional<RunEnd> end;
};

class RunFeed final : public RunListener {
 public:
  struct Options {
    std::size_t readers_max = 100;
    std::size_t news_max = 1'000;  // that a reader has not taken yet
  };

  class Reader {
   public:
    explicit Reader(std::string function) : function_(std::move(function)) {}

   private:
    friend class RunFeed;
    std::string function_;
    std::deque<std::shared_ptr<const RunNews>> news_;
    std::uint64_t skipped_ = 0;
    std::optional<OneShot<bool>> waiter_;
  };

  struct Batch {
    std::vector<std::shared_ptr<const RunNews>> news;
    std::uint64_t skipped = 0;  // before these
  };

  RunFeed(EventLoop& loop, Options options, Metrics& metrics);

  // `resource_exhausted` when there are too many already.
  [[nodiscard]] Result<std::shared_ptr<Reader>> open(std::string function);

  // One at a time for each reader. `cancelled` when stopped.
  [[nodiscard]] Task<Result<Batch>> next(std::shared_ptr<Reader> reader, EventLoop::Duration patience,
                                         std::stop_token stop);

  void run_changed(const LiveRun& run) override;
  void run_ended(const LiveRun& run, const RunEnd& end) override;

 private:
  void tell(RunNews news);

  EventLoop& loop_;
  Options options_;
  Gauge& gauge_;
  Counter& skipped_;
  std::vector<std::weak_ptr<Reader>> readers_;
};

}  // namespace millrace
