// Metrics: counters, gauges and histograms that cost a plain addition on the hot path and become Prometheus text when
// somebody asks.
//
//   Counter& runs = metrics.counter("millrace_runs_total", "runs by outcome", {{"outcome", "succeeded"}});
//   runs.add(1);
//
// Handles are resolved once and live as long as the registry. Updates: any thread (relaxed atomics). Registering and
// rendering: any thread, under a lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

class Counter {
 public:
  void add(std::uint64_t amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Gauge {
 public:
  void set(std::int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void add(std::int64_t amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  [[nodiscard]] std::int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

// Seconds in fixed buckets from 100 us to 1,000 s, two a decade (1 and 3), and one for what is longer.
class Histogram {
 public:
  static constexpr std::size_t kBuckets = 15;
  [[nodiscard]] static double upper_bound_s(std::size_t bucket);  // included; infinite for bucket kBuckets

  void observe_us(std::uint64_t microseconds);
  [[nodiscard]] std::uint64_t count(std::size_t bucket) const {
    return counts_[bucket].load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t sum_us() const { return sum_us_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> counts_[kBuckets + 1]{};  // NOLINT: std::array<atomic> cannot be value-initialised
  std::atomic<std::uint64_t> sum_us_{0};
};

// Label sets kept per name; further ones share one in which every value is "other".
inline constexpr std::size_t kMetricSeriesMax = 10'000;

class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The same name and labels give the same object; one name is of one kind (anything else ends the process). Names and
  // help as Prometheus wants them; label values any text.
  Counter& counter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, Labels labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, Labels labels = {});

  // A gauge whose value is asked for at each rendering, without a lock of ours; `read` must be callable from any thread
  // for as long as the registry lives. The same name and labels again replace it.
  void observe(std::string_view name, std::string_view help, Labels labels, std::function<double()> read);

  // A family of gauges that is given whole, each time anew: a series that is not among these is gone. At most
  // kMetricSeriesMax, further ones are left out.
  struct Sample {
    Labels labels;
    double value = 0;
  };
  void replace(std::string_view name, std::string_view help, std::vector<Sample> samples);

  // The Prometheus text format, version 0.0.4.
  [[nodiscard]] std::string render() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
