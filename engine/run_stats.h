// How busy each function has been within the last minute, of the runs that ended in it.
//
// Bounds: kEndsMax runs of a function; of one that ends more in a minute, the latest speak for it.
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "async/event_loop.h"
#include "engine/live_run.h"

namespace millrace {

struct Activity {
  std::uint64_t ended = 0;
  std::uint64_t unsuccessful = 0;  // of them
  double rate_per_s = 0;           // of ends
  std::uint64_t wall_p99_us = 0;   // of those that were executed
  double cpu_cores = 0;            // that they used on average
  std::uint64_t memory_peak_bytes = 0;
};

class RunStats final : public RunListener {
 public:
  static constexpr std::chrono::seconds kWindow{60};
  static constexpr std::size_t kEndsMax = 1'000;
  static constexpr std::size_t kFunctionsMax = 1'000;  // beyond it, the one that was quiet for longest is forgotten

  explicit RunStats(EventLoop& loop) : loop_(loop), started_(loop.now()) {}

  [[nodiscard]] Activity of(const std::string& function);

  void run_changed(const LiveRun&) override {}
  void run_ended(const LiveRun& run, const RunEnd& end) override;

 private:
  struct End {
    EventLoop::TimePoint at;
    bool succeeded = false;
    std::uint64_t wall_us = 0;
    std::uint64_t cpu_us = 0;
    std::uint64_t memory_peak_bytes = 0;
  };

  EventLoop& loop_;
  EventLoop::TimePoint started_;
  std::map<std::string, std::deque<End>> ends_;
};

}  // namespace millrace
