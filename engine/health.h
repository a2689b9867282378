// Whether this node can take work and keep what comes of it: room on its disks, a broker that takes events, a state
// store that is there. Looked at again and again, so that whoever asks gets an answer at once; what changes is logged.
//
//   Health health(loop, pool, broker, state, {.directories = {data, buckets}}, log, metrics);
//   background.spawn(health.run(stop));
//   for (const auto& trouble : health.troubles()) ...
//
// Threads: the domain loop; disks are asked on the pool.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "core/error.h"
#include "state/state_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

// With less than this free on the file system of its outputs no function starts: one that fills the rest of the disk
// takes everybody's outputs along.
inline constexpr std::uint64_t kFreeBytesMin = 32ULL << 20;

// `no_space` naming the directory when its file system has less than kFreeBytesMin, or no inode, for this process.
// Blocks as statvfs does.
[[nodiscard]] Result<void> check_room(const std::string& directory);

class Health {
 public:
  struct Options {
    std::vector<std::string> directories;    // where this node writes
    std::chrono::milliseconds every{1'000};  // between two looks
  };
  struct Trouble {
    std::string what;  // "disk", "broker" or "state"
    std::string reason;

    bool operator==(const Trouble&) const = default;
  };

  Health(EventLoop& loop, BlockingPool& pool, Broker& broker, StateStore& state, Options options, Log& log,
         Metrics& metrics);

  [[nodiscard]] Task<void> run(std::stop_token stop);
  [[nodiscard]] Task<void> look();

  // At the last look; none: this node is ready for work.
  [[nodiscard]] const std::vector<Trouble>& troubles() const { return troubles_; }

 private:
  [[nodiscard]] Task<std::vector<Trouble>> find_troubles();
  void tell(const std::vector<Trouble>& before) const;

  EventLoop& loop_;
  BlockingPool& pool_;
  Broker& broker_;
  StateStore& state_;
  Options options_;
  Log& log_;
  Gauge& degraded_;
  std::vector<Trouble> troubles_;
};

}  // namespace millrace
