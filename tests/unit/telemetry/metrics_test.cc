#include "telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <vector>

namespace millrace {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Metrics, RendersACounterWithHelpTypeAndLabels) {
  Metrics metrics;
  metrics.counter("runs_total", "runs by outcome", {{"outcome", "succeeded"}}).add(3);
  metrics.counter("runs_total", "runs by outcome", {{"outcome", "failed"}}).add();
  EXPECT_EQ(metrics.render(),
            "# HELP runs_total runs by outcome\n"
            "# TYPE runs_total counter\n"
            "runs_total{outcome=\"failed\"} 1\n"
            "runs_total{outcome=\"succeeded\"} 3\n");
}

TEST(Metrics, RendersNothingBeforeAnythingIsRegistered) {
  EXPECT_EQ(Metrics().render(), "");
}

TEST(Metrics, SameNameAndLabelsAreTheSameObject) {
  Metrics metrics;
  Counter& first = metrics.counter("a_total", "a", {{"x", "1"}});
  EXPECT_EQ(&first, &metrics.counter("a_total", "a", {{"x", "1"}}));
  EXPECT_NE(&first, &metrics.counter("a_total", "a", {{"x", "2"}}));
  Gauge& gauge = metrics.gauge("g", "g");
  EXPECT_EQ(&gauge, &metrics.gauge("g", "g"));
  Histogram& histogram = metrics.histogram("h_seconds", "h");
  EXPECT_EQ(&histogram, &metrics.histogram("h_seconds", "h"));
}

TEST(Metrics, GaugesGoUpAndDown) {
  Metrics metrics;
  Gauge& gauge = metrics.gauge("instances", "instances now");
  gauge.set(5);
  gauge.add(-7);
  EXPECT_EQ(gauge.value(), -2);
  EXPECT_THAT(metrics.render(), HasSubstr("# TYPE instances gauge\ninstances -2\n"));
}

TEST(Metrics, ObservedGaugesAreReadAtEachRendering) {
  Metrics metrics;
  double value = 1.5;
  metrics.observe("depth", "queue depth", {{"queue", "a"}}, [&value] { return value; });
  EXPECT_THAT(metrics.render(), HasSubstr("depth{queue=\"a\"} 1.5\n"));
  value = 2;
  EXPECT_THAT(metrics.render(), HasSubstr("depth{queue=\"a\"} 2\n"));
  metrics.observe("depth", "queue depth", {{"queue", "a"}}, [] { return 9; });
  EXPECT_THAT(metrics.render(), HasSubstr("depth{queue=\"a\"} 9\n")) << "the later reader replaces the earlier";
}

TEST(Metrics, AReaderMayUseTheRegistry) {
  Metrics metrics;
  metrics.observe("twice", "t", {}, [&metrics] {
    metrics.counter("asked_total", "a").add();
    return 0.0;
  });
  EXPECT_THAT(metrics.render(), HasSubstr("twice 0\n"));
  EXPECT_THAT(metrics.render(), HasSubstr("asked_total 1\n"));
}

TEST(Metrics, AFamilyGivenWholeHasJustTheseSeries) {
  Metrics metrics;
  metrics.replace("depth", "queue depth", {{.labels = {{"q", "a"}}, .value = 1.5}, {.labels = {{"q", "b"}}}});
  EXPECT_THAT(metrics.render(), HasSubstr("# TYPE depth gauge\ndepth{q=\"a\"} 1.5\ndepth{q=\"b\"} 0\n"));
  metrics.replace("depth", "queue depth", {{.labels = {{"q", "b"}}, .value = 2}});
  EXPECT_THAT(metrics.render(), HasSubstr("# TYPE depth gauge\ndepth{q=\"b\"} 2\n"));
  metrics.replace("depth", "queue depth", std::vector<Metrics::Sample>(kMetricSeriesMax + 1));
  const std::string text = metrics.render();
  std::size_t series = 0;
  for (auto at = text.find("\ndepth "); at != std::string::npos; at = text.find("\ndepth ", at + 1)) ++series;
  EXPECT_EQ(series, kMetricSeriesMax);
}

TEST(Metrics, LabelValuesMayBeAnyText) {
  Metrics metrics;
  metrics.counter("a_total", "a", {{"x", "q\"b\\n\n"}}).add();
  metrics.counter("a_total", "a", {{"x", "\xff"}}).add();
  const std::string text = metrics.render();
  EXPECT_THAT(text, HasSubstr(R"(a_total{x="q\"b\\n\n"} 1)"));
  EXPECT_THAT(text, HasSubstr("a_total{x=\"\xef\xbf\xbd\"} 1"));
}

TEST(Metrics, SeriesBeyondTheLimitShareOne) {
  Metrics metrics;
  for (std::size_t i = 0; i < kMetricSeriesMax; ++i) metrics.counter("a_total", "a", {{"x", std::to_string(i)}});
  Counter& first = metrics.counter("a_total", "a", {{"x", "new"}});
  Counter& second = metrics.counter("a_total", "a", {{"x", "newer"}});
  EXPECT_EQ(&first, &second);
  EXPECT_NE(&first, &metrics.counter("a_total", "a", {{"x", "0"}})) << "what is known stays itself";
  first.add(4);
  EXPECT_THAT(metrics.render(), HasSubstr("a_total{x=\"other\"} 4\n"));
}

TEST(MetricsDeathTest, TwoKindsUnderOneNameEndTheProcess) {
  Metrics metrics;
  metrics.counter("a", "a");
  EXPECT_DEATH(metrics.gauge("a", "a"), "");
  metrics.gauge("g", "g");
  EXPECT_DEATH(metrics.observe("g", "g", {}, [] { return 0.0; }), "");
}

TEST(Histogram, BoundsAreTwoADecade) {
  EXPECT_DOUBLE_EQ(Histogram::upper_bound_s(0), 0.0001);
  EXPECT_DOUBLE_EQ(Histogram::upper_bound_s(1), 0.0003);
  EXPECT_DOUBLE_EQ(Histogram::upper_bound_s(8), 1);
  EXPECT_DOUBLE_EQ(Histogram::upper_bound_s(Histogram::kBuckets - 1), 1000);
  EXPECT_TRUE(std::isinf(Histogram::upper_bound_s(Histogram::kBuckets)));
  for (std::size_t i = 1; i < Histogram::kBuckets; ++i) {
    EXPECT_LT(Histogram::upper_bound_s(i - 1), Histogram::upper_bound_s(i));
  }
}

TEST(Histogram, AValueOnABoundBelongsToItsBucket) {
  Histogram histogram;
  histogram.observe_us(0);
  histogram.observe_us(100);
  histogram.observe_us(101);
  histogram.observe_us(1'000'000'000);
  histogram.observe_us(1'000'000'001);
  EXPECT_EQ(histogram.count(0), 2U);
  EXPECT_EQ(histogram.count(1), 1U);
  EXPECT_EQ(histogram.count(Histogram::kBuckets - 1), 1U);
  EXPECT_EQ(histogram.count(Histogram::kBuckets), 1U);
  EXPECT_EQ(histogram.sum_us(), 2'000'000'202U);
}

TEST(Metrics, RendersHistogramsCumulatively) {
  Metrics metrics;
  Histogram& histogram = metrics.histogram("run_seconds", "run time", {{"function", "f"}});
  histogram.observe_us(50);
  histogram.observe_us(2'000'000);
  histogram.observe_us(2'000'000'000);
  const std::string text = metrics.render();
  EXPECT_THAT(text, HasSubstr("# TYPE run_seconds histogram\n"));
  EXPECT_THAT(text, HasSubstr("run_seconds_count{function=\"f\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("run_seconds_sum{function=\"f\"} 2002.00005\n"));
  EXPECT_THAT(text, HasSubstr("run_seconds_bucket{function=\"f\",le=\"0.0001\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("run_seconds_bucket{function=\"f\",le=\"1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("run_seconds_bucket{function=\"f\",le=\"3\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("run_seconds_bucket{function=\"f\",le=\"1000\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("run_seconds_bucket{function=\"f\",le=\"+Inf\"} 3\n"));
}

TEST(Metrics, CountsFromSeveralThreadsWhileRendering) {
  constexpr int kThreads = 4;
  constexpr int kAdds = 5000;
  Metrics metrics;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&metrics] {
        Counter& counter = metrics.counter("a_total", "a");
        Histogram& histogram = metrics.histogram("h_seconds", "h");
        for (int i = 0; i < kAdds; ++i) {
          counter.add();
          histogram.observe_us(1);
        }
      });
    }
    for (int i = 0; i < 20; ++i) EXPECT_THAT(metrics.render(), Not(HasSubstr("nan")));
  }
  EXPECT_THAT(metrics.render(), HasSubstr("a_total 20000\n"));
  EXPECT_THAT(metrics.render(), HasSubstr("h_seconds_count 20000\n"));
}

}  // namespace
}  // namespace millrace
