#include "telemetry/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <utility>

#include "formats/utf8.h"

namespace millrace {
namespace {

constexpr std::array<std::uint64_t, Histogram::kBuckets> kBoundsUs{
    100,       300,       1'000,      3'000,      10'000,      30'000,      100'000,       300'000,
    1'000'000, 3'000'000, 10'000'000, 30'000'000, 100'000'000, 300'000'000, 1'000'000'000,
};

enum class Kept : std::uint8_t { handles, readers, samples };

// One metric name with all its label sets. Exactly one of the five containers is used.
struct Family {
  std::string help;
  prometheus::MetricType type = prometheus::MetricType::Untyped;
  Kept kept = Kept::handles;
  std::map<Metrics::Labels, std::unique_ptr<Counter>> counters;
  std::map<Metrics::Labels, std::unique_ptr<Gauge>> gauges;
  std::map<Metrics::Labels, std::unique_ptr<Histogram>> histograms;
  std::map<Metrics::Labels, std::function<double()>> readers;
  std::vector<Metrics::Sample> samples;
};

prometheus::ClientMetric client_metric(const Metrics::Labels& labels) {
  prometheus::ClientMetric metric;
  for (const auto& [name, value] : labels) metric.label.push_back({name, value});
  return metric;
}

prometheus::ClientMetric client_metric(const Metrics::Labels& labels, const Histogram& histogram) {
  auto metric = client_metric(labels);
  std::uint64_t cumulative = 0;
  for (std::size_t i = 0; i <= Histogram::kBuckets; ++i) {
    cumulative += histogram.count(i);
    metric.histogram.bucket.push_back({.cumulative_count = cumulative, .upper_bound = Histogram::upper_bound_s(i)});
  }
  // The count of the buckets as they were read, so that one rendering does not contradict itself.
  metric.histogram.sample_count = cumulative;
  metric.histogram.sample_sum = static_cast<double>(histogram.sum_us()) / 1e6;
  return metric;
}

}  // namespace

double Histogram::upper_bound_s(std::size_t bucket) {
  return bucket < kBuckets ? static_cast<double>(kBoundsUs.at(bucket)) / 1e6 : std::numeric_limits<double>::infinity();
}

void Histogram::observe_us(std::uint64_t microseconds) {
  std::size_t bucket = 0;
  while (bucket < kBuckets && microseconds > kBoundsUs[bucket]) ++bucket;  // NOLINT: the loop keeps it in range
  counts_[bucket].fetch_add(1, std::memory_order_relaxed);
  sum_us_.fetch_add(microseconds, std::memory_order_relaxed);
}

struct Metrics::Impl {
  mutable std::mutex mutex;
  std::map<std::string, Family, std::less<>> families;

  // The family of that name, made if need be. Two kinds under one name would be a bug of the program that no user can
  // do anything about: it ends at the first start.
  Family& family(std::string_view name, std::string_view help, prometheus::MetricType type, Kept kept) {
    auto [place, is_new] = families.try_emplace(std::string(name));
    Family& found = place->second;
    if (is_new) {
      found.help = help;
      found.type = type;
      found.kept = kept;
    }
    if (found.type != type || found.kept != kept) std::abort();
    return found;
  }

  // Labels as they are kept: valid UTF-8; beyond kMetricSeriesMax series of one name everything new counts as "other".
  template <class Series>
  static Labels kept_labels(const Series& series, Labels labels) {
    for (auto& [name, value] : labels) value = replace_invalid_utf8(value);
    if (series.size() >= kMetricSeriesMax && !series.contains(labels)) {
      for (auto& [name, value] : labels) value = "other";
    }
    return labels;
  }

  template <class Value>
  static Value& resolve(std::map<Labels, std::unique_ptr<Value>>& series, Labels labels) {
    auto& slot = series[kept_labels(series, std::move(labels))];
    if (!slot) slot = std::make_unique<Value>();
    return *slot;
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Counter& Metrics::counter(std::string_view name, std::string_view help, Labels labels) {
  const std::lock_guard lock(impl_->mutex);
  auto& family = impl_->family(name, help, prometheus::MetricType::Counter, Kept::handles);
  return Impl::resolve(family.counters, std::move(labels));
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, Labels labels) {
  const std::lock_guard lock(impl_->mutex);
  auto& family = impl_->family(name, help, prometheus::MetricType::Gauge, Kept::handles);
  return Impl::resolve(family.gauges, std::move(labels));
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, Labels labels) {
  const std::lock_guard lock(impl_->mutex);
  auto& family = impl_->family(name, help, prometheus::MetricType::Histogram, Kept::handles);
  return Impl::resolve(family.histograms, std::move(labels));
}

void Metrics::observe(std::string_view name, std::string_view help, Labels labels, std::function<double()> read) {
  const std::lock_guard lock(impl_->mutex);
  auto& family = impl_->family(name, help, prometheus::MetricType::Gauge, Kept::readers);
  family.readers[Impl::kept_labels(family.readers, std::move(labels))] = std::move(read);
}

void Metrics::replace(std::string_view name, std::string_view help, std::vector<Sample> samples) {
  if (samples.size() > kMetricSeriesMax) samples.resize(kMetricSeriesMax);
  for (auto& sample : samples) {
    for (auto& [label, value] : sample.labels) value = replace_invalid_utf8(value);
  }
  const std::lock_guard lock(impl_->mutex);
  impl_->family(name, help, prometheus::MetricType::Gauge, Kept::samples).samples = std::move(samples);
}

std::string Metrics::render() const {
  std::vector<prometheus::MetricFamily> families;
  std::vector<std::pair<std::size_t, std::map<Labels, std::function<double()>>>> readers;
  {
    const std::lock_guard lock(impl_->mutex);
    for (const auto& [name, family] : impl_->families) {
      auto& out = families.emplace_back();
      out.name = name;
      out.help = family.help;
      out.type = family.type;
      for (const auto& [labels, counter] : family.counters) {
        out.metric.push_back(client_metric(labels));
        out.metric.back().counter.value = static_cast<double>(counter->value());
      }
      for (const auto& [labels, gauge] : family.gauges) {
        out.metric.push_back(client_metric(labels));
        out.metric.back().gauge.value = static_cast<double>(gauge->value());
      }
      for (const auto& [labels, histogram] : family.histograms) out.metric.push_back(client_metric(labels, *histogram));
      for (const auto& sample : family.samples) {
        out.metric.push_back(client_metric(sample.labels));
        out.metric.back().gauge.value = sample.value;
      }
      if (family.kept == Kept::readers) readers.emplace_back(families.size() - 1, family.readers);
    }
  }
  // Without the lock: a reader may take locks of its own.
  for (const auto& [index, series] : readers) {
    for (const auto& [labels, read] : series) {
      families[index].metric.push_back(client_metric(labels));
      families[index].metric.back().gauge.value = read();
    }
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace millrace
