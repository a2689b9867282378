// What functions have used since this daemon began, as counters by function: for whoever watches, or writes bills.
//
// Bounds: kFunctionsMax functions; what further ones use is counted under the name "other".
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>

#include "core/run.h"
#include "engine/live_run.h"
#include "telemetry/metrics.h"

namespace millrace {

class RunMeter final : public RunListener {
 public:
  static constexpr std::size_t kFunctionsMax = 200;

  explicit RunMeter(Metrics& metrics) : metrics_(metrics) {}

  void run_changed(const LiveRun&) override {}
  void run_ended(const LiveRun& run, const RunEnd& end) override;

 private:
  struct Counters {
    explicit Counters(Metrics& metrics, const std::string& function);

    std::reference_wrapper<Counter> wall_us;
    std::reference_wrapper<Counter> queued_us;
    std::reference_wrapper<Counter> start_us;
    std::reference_wrapper<Counter> cpu_us;
    std::reference_wrapper<Counter> throttled_us;
    std::reference_wrapper<Counter> memory_mib_ms;
    std::reference_wrapper<Counter> read_bytes;
    std::reference_wrapper<Counter> written_bytes;
    std::reference_wrapper<Counter> output_bytes;
  };

  Metrics& metrics_;
  std::map<std::string, Counters> counters_;
};

// For whoever commits a run's record, and won: millrace_runs_total.
void count_run(Metrics& metrics, const RunRecord& record);

}  // namespace millrace
