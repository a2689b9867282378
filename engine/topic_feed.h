// The topic feed: what is published on a topic, for people who watch. Every reader has a bounded queue of its own; one
// that is too slow misses the oldest and is told how many. Nothing is taken from anybody who works on the events.
//
//   auto reader = co_await feed.open("orders");
//   auto batch = co_await feed.next(*reader, 15s, stop);          // Result<Batch>, empty after 15 s of silence
//
// A reader goes with its last shared_ptr, dropped on whichever thread; with it everything that watching needed.
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "core/error.h"
#include "telemetry/metrics.h"

namespace millrace {

// One event as it is shown.
struct TopicNews {
  std::string id;  // at its source
  std::string source;
  std::string type;
  std::string subject;
  std::string key;  // its ordering key, where the broker tells
  std::string content_type;
  std::string data;              // its beginning; no character of UTF-8 is cut
  std::uint64_t data_bytes = 0;  // of all of it
  std::chrono::system_clock::time_point published_at{};
};

class TopicFeed {
 public:
  static constexpr std::size_t kShownBytesMax = 1024;  // of an event's data

  struct Options {
    std::size_t readers_max = 100;
    std::size_t news_max = 1'000;           // that a reader has not taken yet
    std::size_t news_bytes_max = 2U << 20;  // the same
  };

  class Reader;
  struct Batch {
    std::vector<TopicNews> news;
    std::uint64_t skipped = 0;   // since the batch before
    bool interrupted = false;    // more were, and nobody knows how many
    bool topic_removed = false;  // nothing more comes
  };

  TopicFeed(EventLoop& loop, Broker& broker, Options options, Metrics& metrics);

  // `not_found`: no such topic; `resource_exhausted` when there are too many already.
  [[nodiscard]] Task<Result<std::shared_ptr<Reader>>> open(std::string topic);

  // One at a time for each reader. `cancelled` when stopped.
  [[nodiscard]] Task<Result<Batch>> next(std::shared_ptr<Reader> reader, EventLoop::Duration patience,
                                         std::stop_token stop);

 private:
  EventLoop& loop_;
  Broker& broker_;
  Options options_;
  Gauge& gauge_;
  Counter& skipped_;
  std::vector<std::weak_ptr<Reader>> readers_;
};

}  // namespace millrace
