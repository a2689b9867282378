// A node that some functions flood: what the others feel of it, in virtual time.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "tests/sim/pipeline/world.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class Fairness : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, Fairness, testing::Range<std::uint64_t>(1, 4));

constexpr NodeBudget kNode{.memory_bytes = 1ULL << 30, .cpu_millicores = 4000};

void define(World& world, const std::string& name, std::chrono::milliseconds takes, std::uint32_t cpu,
            std::uint32_t weight = 1) {
  world.executor.define(name, takes,
                        [&world](const ExecutionRequest& request, int) { return world.leave_copy(request); });
  FunctionSpec spec = World::function(name, "in-" + name, "out-" + name);
  spec.cpu_millicores = cpu;
  spec.weight = weight;
  world.apply(spec);
}

void flood(World& world, const std::string& name, int events) {
  for (int i = 0; i < events; ++i) world.drop("in-" + name, "f" + std::to_string(i), name);
}

// From the drop to the committed row of ten events a second for half a minute: the 99th of a hundred.
std::chrono::milliseconds p99_of(World& world, const std::string& name) {
  std::vector<RunId> runs;
  for (int i = 0; i < 300; ++i) {
    runs.push_back(world.drop("in-" + name, "s" + std::to_string(i), name));
    world.loop.run_for(100ms);
  }
  world.loop.run_for(30s);
  std::vector<std::chrono::milliseconds> waits;
  for (const auto& run : runs) {
    const auto row = world.row(run);
    if (!row) {
      ADD_FAILURE() << "an event of " << name << " has not run at all";
      return 1h;
    }
    waits.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(row->committed_at - row->queued_at));
  }
  std::ranges::sort(waits);
  return waits[waits.size() * 99 / 100];
}

TEST_P(Fairness, AFloodOfOneFunctionLeavesTheLatencyOfAnotherAlone) {
  constexpr auto kFloodTakes = 200ms;
  World idle(GetParam(), kNode);
  define(idle, "small", 20ms, 1000);
  const auto quiet = p99_of(idle, "small");

  World world(GetParam(), kNode);
  define(world, "flood", kFloodTakes, 1000);
  define(world, "small", 20ms, 1000);
  flood(world, "flood", 2'000);
  EXPECT_LE(p99_of(world, "small"), quiet + 2 * kFloodTakes);
  EXPECT_GT(world.lag("flood").open(), 0U) << "the flood must outlast the measurement";
}

TEST_P(Fairness, AFloodOfLargeFunctionsLeavesTheLatencyOfASmallOneAlone) {
  constexpr auto kFloodTakes = 200ms;
  World idle(GetParam(), kNode);
  define(idle, "small", 20ms, 500);
  const auto quiet = p99_of(idle, "small");

  World world(GetParam(), kNode);
  define(world, "flood", kFloodTakes, 2000);
  define(world, "tide", kFloodTakes, 1500);
  define(world, "small", 20ms, 500);
  flood(world, "flood", 1'000);
  flood(world, "tide", 1'000);
  EXPECT_LE(p99_of(world, "small"), quiet + 2 * kFloodTakes);
  EXPECT_GT(world.lag("flood").open(), 0U) << "the flood must outlast the measurement";
}

TEST_P(Fairness, AFunctionThatNeedsTheWholeNodeRunsBesideAFlood) {
  World world(GetParam(), kNode);
  define(world, "flood", 100ms, 500);
  define(world, "whole", 100ms, 4000);
  flood(world, "flood", 4'000);
  for (int i = 0; i < 5; ++i) world.drop("in-whole", "w" + std::to_string(i), "whole");
  world.loop.run_for(30s);
  EXPECT_EQ(world.executor.executions("whole"), 5);
  EXPECT_GT(world.lag("flood").open(), 0U);
}

TEST_P(Fairness, FunctionsThatFloodShareTheNodeByWeight) {
  World world(GetParam(), kNode);
  define(world, "one", 100ms, 1000, 1);
  define(world, "three", 100ms, 1000, 3);
  flood(world, "one", 1'000);
  flood(world, "three", 1'000);
  const int one = world.executor.executions("one");
  const int three = world.executor.executions("three");
  world.loop.run_for(10s);  // 400 runs
  const double got = world.executor.executions("one") - one;
  EXPECT_NEAR((world.executor.executions("three") - three) / got, 3.0, 0.5);
}

}  // namespace
}  // namespace millrace
