// Stopwatch: observes in a histogram how long it lived.
#pragma once

#include <chrono>

#include "telemetry/metrics.h"

namespace millrace::fs {

class Stopwatch {
 public:
  explicit Stopwatch(Histogram& histogram) : histogram_(histogram) {}
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    const auto spent = std::chrono::steady_clock::now() - started_;
    histogram_.observe_us(
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(spent).count()));
  }

 private:
  Histogram& histogram_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace millrace::fs
