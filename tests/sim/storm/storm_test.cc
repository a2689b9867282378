// A thousand seeds of bad weather. One that fails prints how to see it again:
//
//   MILLRACE_SIM_SEED=417 MILLRACE_SIM_TRACE=1 build/release/tests/sim/storm/sim_storm
//
// MILLRACE_SIM_SEEDS=100000 searches that many seeds instead of the usual number.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "tests/sim/storm/broken_state.h"
#include "tests/sim/storm/storm.h"

namespace millrace::storm {
namespace {

#ifndef MILLRACE_SIM_SEEDS_DEFAULT
#define MILLRACE_SIM_SEEDS_DEFAULT 1'000
#endif

constexpr std::uint64_t kSeeds = MILLRACE_SIM_SEEDS_DEFAULT;
constexpr std::uint64_t kShards = 4;

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string text_of(std::uint64_t seed, const Outcome& outcome) {
  std::string text = "seed " + std::to_string(seed) + ":";
  for (const auto& violation : outcome.violations) text += "\n  " + violation;
  return text + "\nSee it again with MILLRACE_SIM_SEED=" + std::to_string(seed) + " MILLRACE_SIM_TRACE=1";
}

class StormSeeds : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Shards, StormSeeds, testing::Range<std::uint64_t>(0, kShards));

TEST_P(StormSeeds, EverythingComesToRestAndNothingIsLostOrDoneTwice) {
  const std::uint64_t only = number_from_environment("MILLRACE_SIM_SEED", 0);
  const std::uint64_t seeds = number_from_environment("MILLRACE_SIM_SEEDS", kSeeds);
  const bool shown = number_from_environment("MILLRACE_SIM_TRACE", 0) != 0;
  std::size_t runs = 0;
  std::size_t executions = 0;
  std::size_t crashes = 0;
  std::size_t losses = 0;
  int failed = 0;
  for (std::uint64_t seed = 1 + GetParam(); seed <= seeds && failed < 5; seed += kShards) {
    if (only != 0 && seed != only) continue;
    Storm storm(seed, {.shown = shown, .break_state = {}});
    const Outcome outcome = storm.run();
    runs += outcome.runs;
    executions += outcome.executions;
    crashes += outcome.crashes;
    losses += outcome.losses;
    if (!outcome.violations.empty()) ++failed;
    EXPECT_TRUE(outcome.violations.empty()) << text_of(seed, outcome);
  }
  RecordProperty("runs", std::to_string(runs));
  std::fprintf(stderr, "%zu runs, %zu executions, %zu crashes, %zu losses\n", runs, executions, crashes, losses);
}

TEST(Storm, TheSameSeedIsTheSameStorm) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const Outcome first = Storm(seed, {}).run();
    const Outcome second = Storm(seed, {}).run();
    EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
    EXPECT_EQ(first.executions, second.executions) << "seed " << seed;
  }
}

TEST(Storm, OtherSeedsAreOtherStorms) {
  std::set<std::uint64_t> hashes;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) hashes.insert(Storm(seed, {}).run().trace_hash);
  EXPECT_EQ(hashes.size(), 12U);
}

// The checks are checked: each broken store must be found out by some of the first seeds.
class BrokenState : public testing::TestWithParam<Breakage> {};
INSTANTIATE_TEST_SUITE_P(Storm, BrokenState,
                         testing::Values(Breakage::commit_replaces, Breakage::commits_get_lost,
                                         Breakage::attempts_are_forgotten),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

TEST_P(BrokenState, IsFoundOut) {
  constexpr std::uint64_t kEnough = 60;
  std::uint64_t seed = 1;
  std::string found;
  for (; seed <= kEnough && found.empty(); ++seed) {
    const Outcome outcome = Storm(seed, {.shown = false, .break_state = breaker(GetParam())}).run();
    if (!outcome.violations.empty()) found = outcome.violations.front();
  }
  EXPECT_FALSE(found.empty()) << "not in " << kEnough << " seeds";
  RecordProperty("found", found);
}

}  // namespace
}  // namespace millrace::storm
