#include "engine/run_stats.h"

#include <gtest/gtest.h>

#include <string>

#include "async/sim_event_loop.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class RunStatsTest : public testing::Test {
 protected:
  void end(const std::string& function, std::uint64_t wall_us, RunOutcome outcome = RunOutcome::succeeded,
           std::uint64_t memory = 1) {
    LiveRun run;
    run.function = function;
    RunEnd ended;
    ended.outcome = outcome;
    ended.usage.wall_us = wall_us;
    ended.usage.cpu_us = wall_us / 2;
    ended.usage.memory_peak_bytes = memory;
    stats_.run_ended(run, ended);
  }

  SimEventLoop loop_;
  RunStats stats_{loop_};
};

TEST_F(RunStatsTest, AFunctionThatNothingIsKnownOfIsQuiet) {
  const auto activity = stats_.of("f");
  EXPECT_EQ(activity.ended, 0U);
  EXPECT_EQ(activity.rate_per_s, 0);
}

TEST_F(RunStatsTest, SumsUpTheLastMinute) {
  loop_.run_for(3600s);
  for (int i = 0; i < 99; ++i) end("f", 1'000'000);
  end("f", 5'000'000, RunOutcome::dead_lettered, 77);
  end("g", 1);
  const auto activity = stats_.of("f");
  EXPECT_EQ(activity.ended, 100U);
  EXPECT_EQ(activity.unsuccessful, 1U);
  EXPECT_DOUBLE_EQ(activity.rate_per_s, 100.0 / 60);
  EXPECT_EQ(activity.wall_p99_us, 1'000'000U);
  EXPECT_DOUBLE_EQ(activity.cpu_cores, (99 * 0.5 + 2.5) / 60);
  EXPECT_EQ(activity.memory_peak_bytes, 77U);
  loop_.run_for(61s);
  EXPECT_EQ(stats_.of("f").ended, 0U);
}

TEST_F(RunStatsTest, AYoungDaemonsMinuteIsAsLongAsItLives) {
  loop_.run_for(10s);
  for (int i = 0; i < 20; ++i) end("f", 1);
  EXPECT_DOUBLE_EQ(stats_.of("f").rate_per_s, 2);
}

// Of a flood, the latest ends tell the rate.
TEST_F(RunStatsTest, KeepsNoMoreThanItsBound) {
  loop_.run_for(3600s);
  for (int second = 0; second < 50; ++second) {
    for (int i = 0; i < 100; ++i) end("f", 1);
    loop_.run_for(1s);
  }
  const auto activity = stats_.of("f");
  EXPECT_EQ(activity.ended, RunStats::kEndsMax);
  EXPECT_NEAR(activity.rate_per_s, 100, 1);
}

TEST_F(RunStatsTest, RunsThatNeverExecutedSayNothingOfTime) {
  end("f", 0, RunOutcome::skipped);
  EXPECT_EQ(stats_.of("f").ended, 1U);
  EXPECT_EQ(stats_.of("f").wall_p99_us, 0U);
}

TEST_F(RunStatsTest, TheFunctionThatWasQuietForLongestIsForgotten) {
  for (std::size_t i = 0; i <= RunStats::kFunctionsMax; ++i) {
    end("f" + std::to_string(i), 1);
    loop_.run_for(1ms);
  }
  EXPECT_EQ(stats_.of("f0").ended, 0U);
  EXPECT_EQ(stats_.of("f1").ended, 1U);
}

}  // namespace
}  // namespace millrace
