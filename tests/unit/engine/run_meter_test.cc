#include "engine/run_meter.h"

#include <gtest/gtest.h>

#include <string>

namespace millrace {
namespace {

RunEnd used(Usage usage) {
  RunEnd end;
  end.usage = usage;
  return end;
}

LiveRun run_of(const std::string& function) {
  LiveRun run;
  run.function = function;
  return run;
}

TEST(RunMeter, SumsWhatTheRunsOfAFunctionUsed) {
  Metrics metrics;
  RunMeter meter(metrics);
  Usage usage{.wall_us = 2'000'000,
              .queued_us = 3,
              .start_us = 4,
              .cpu_us = 5,
              .memory_peak_bytes = 6,
              .rss_peak_bytes = 7,
              .read_bytes = 8,
              .written_bytes = 9,
              .throttled_us = 10,
              .output_bytes = 11,
              .memory_limit_bytes = 256ULL << 20};
  meter.run_ended(run_of("f"), used(usage));
  meter.run_ended(run_of("f"), used(usage));
  const std::string text = metrics.render();
  for (const char* line :
       {"millrace_run_wall_us_total{function=\"f\"} 4000000\n", "millrace_run_queued_us_total{function=\"f\"} 6\n",
        "millrace_run_start_us_total{function=\"f\"} 8\n", "millrace_run_cpu_us_total{function=\"f\"} 10\n",
        "millrace_run_throttled_us_total{function=\"f\"} 20\n",
        "millrace_run_memory_mib_ms_total{function=\"f\"} 1024000\n",
        "millrace_run_read_bytes_total{function=\"f\"} 16\n", "millrace_run_written_bytes_total{function=\"f\"} 18\n",
        "millrace_run_output_bytes_total{function=\"f\"} 22\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
  EXPECT_DOUBLE_EQ(usage.gb_seconds(), 0.5);
}

TEST(RunMeter, CountsFunctionsBeyondItsBoundTogether) {
  Metrics metrics;
  RunMeter meter(metrics);
  for (std::size_t i = 0; i < RunMeter::kFunctionsMax + 5; ++i) {
    meter.run_ended(run_of("f" + std::to_string(i)), used({.cpu_us = 1}));
  }
  meter.run_ended(run_of("f0"), used({.cpu_us = 1}));
  const std::string text = metrics.render();
  EXPECT_NE(text.find("millrace_run_cpu_us_total{function=\"other\"} 5\n"), std::string::npos);
  EXPECT_NE(text.find("millrace_run_cpu_us_total{function=\"f0\"} 2\n"), std::string::npos);
}

}  // namespace
}  // namespace millrace
