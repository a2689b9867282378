// How full the queues are, for metrics and for people: each group of each topic, as the broker tells it. Asking costs a
// remote broker several requests a group, so what was told is remembered for some seconds, and of very many topics only
// some are asked at a time.
//
//   const auto told = co_await levels.refresh();
//   for (const auto& [topic, groups] : levels.all()) ...
//
// What is still asked when this goes is dropped: the broker must outlive it.
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "async/task_group.h"
#include "broker/broker.h"
#include "core/error.h"
#include "telemetry/metrics.h"

namespace millrace {

class QueueLevels {
 public:
  static constexpr std::chrono::seconds kFresh{5};
  // A broker that is connected and does not answer takes many seconds to fail. Whoever watches must see the rest then.
  static constexpr std::chrono::seconds kPatience{1};
  static constexpr std::size_t kAskedMax = 500;  // questions to the broker a refresh; with more topics they take turns
  static constexpr std::size_t kShownMax = 1'000;  // groups in the metrics

  struct Level {
    std::string group;
    Lag lag;
  };
  using Levels = std::map<std::string, std::vector<Level>, std::less<>>;  // by topic

  QueueLevels(EventLoop& loop, Broker& broker, Metrics& metrics);

  // Asks the broker, unless that was done within kFresh, and sets the metrics. When it fails nothing is known any more:
  // there are no levels and no series until the next one succeeds. `deadline_exceeded` after kPatience: it is asked on,
  // and until that is over what was told before stands.
  [[nodiscard]] Task<Result<void>> refresh();

  [[nodiscard]] const Levels& all() const { return levels_; }

  // What waits for a function, retries and delays included, of the topics that were asked; nothing: not known.
  [[nodiscard]] std::optional<std::uint64_t> waiting_for(const std::string& function) const;

 private:
  [[nodiscard]] Task<void> look();
  [[nodiscard]] Task<Result<void>> ask();
  [[nodiscard]] Task<Result<void>> ask_topic(std::string topic, std::size_t& asked);
  void show();

  EventLoop& loop_;
  Broker& broker_;
  Metrics& metrics_;
  Gauge& left_out_;
  Levels levels_;
  std::string next_;                              // the topic whose turn it is
  Result<void> told_;                             // the last time
  std::optional<EventLoop::TimePoint> asked_at_;  // failures count: the next would take as long to fail
  Semaphore asking_;                              // held by the one that asks; the others wait for what it is told
  TaskGroup background_;                          // the last member: what runs in it uses the others
};

// The function that a group reads a topic for; empty: it is another program's.
[[nodiscard]] std::string function_of(const std::string& topic, const std::string& group);

}  // namespace millrace
