#include "cli/stats.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace millrace::cli {
namespace {

Json run(const std::string& id, const std::string& outcome, std::uint64_t wall_us) {
  return Json::object({{"run_id", id},
                       {"function", "f"},
                       {"outcome", outcome},
                       {"failures", 1},
                       {"losses", 0},
                       {"usage", Json::object({{"wall_us", wall_us}, {"cpu_us", 5}, {"memory_peak_bytes", 1024}})}});
}

TEST(Quantiles, AreOfTheNearestRank) {
  std::vector<std::uint64_t> values;
  for (std::uint64_t value = 200; value > 0; --value) values.push_back(value);
  EXPECT_EQ(quantiles_of(values).p50, 100U);
  EXPECT_EQ(quantiles_of(values).p99, 198U);
  EXPECT_EQ(quantiles_of({7}).p50, 7U);
  EXPECT_EQ(quantiles_of({7}).p99, 7U);
  EXPECT_EQ(quantiles_of({1, 2}).p50, 1U);
  EXPECT_EQ(quantiles_of({1, 2}).p99, 2U);
  EXPECT_EQ(quantiles_of({}).p99, 0U);
}

TEST(Stats, CountOutcomesAndMeasureWhatRan) {
  const auto stats = stats_of({run("1", "succeeded", 10), run("2", "succeeded", 30), run("3", "skipped", 0)});
  ASSERT_EQ(stats.size(), 1U);
  const auto& of_function = stats.at("f");
  EXPECT_EQ(of_function.outcomes.at("succeeded"), 2U);
  EXPECT_EQ(of_function.outcomes.at("skipped"), 1U);
  EXPECT_EQ(of_function.failures, 3U);
  EXPECT_EQ(of_function.wall_us, (std::vector<std::uint64_t>{10, 30}));
}

TEST(Stats, ARunThatEndedMeanwhileCountsOnce) {
  Json live = Json::object({{"run_id", "1"}, {"function", "f"}, {"state", "running"}});
  const Json other = Json::object({{"run_id", "2"}, {"function", "f"}, {"state", "queued"}});
  for (const auto& runs :
       {Json::Array{live, other, run("1", "succeeded", 10)}, Json::Array{run("1", "succeeded", 10), live, other}}) {
    const auto stats = stats_of(runs);
    EXPECT_EQ(stats.at("f").going_on, 1U);
    EXPECT_EQ(stats.at("f").outcomes.at("succeeded"), 1U);
  }
}

TEST(Stats, TableTellsMedianAndTail) {
  const std::string text =
      stats_table(stats_of({run("1", "succeeded", 1'500), run("2", "failed", 2'000'000)})).to_text();
  EXPECT_NE(text.find("1 failed, 1 succeeded"), std::string::npos) << text;
  EXPECT_NE(text.find("1.5 ms / 2.00 s"), std::string::npos) << text;
  EXPECT_NE(text.find("1.0 KiB / 1.0 KiB"), std::string::npos) << text;
}

TEST(Stats, OfNothingMeasuredShowADash) {
  const std::string text = stats_table(stats_of({run("1", "skipped", 0)})).to_text();
  EXPECT_NE(text.find(" -  "), std::string::npos) << text;
}

TEST(Stats, JsonHasTheNumbers) {
  const Json json = stats_json(stats_of({run("1", "succeeded", 10)}));
  const Json& entry = json.find("functions")->items().front();
  EXPECT_EQ(entry.string_or("function", ""), "f");
  EXPECT_EQ(entry.uint_or("measured", 0), 1U);
  EXPECT_EQ(entry.find("wall_us")->uint_or("p99", 0), 10U);
}

}  // namespace
}  // namespace millrace::cli
