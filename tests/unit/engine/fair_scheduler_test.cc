#include "engine/fair_scheduler.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "async/sim_event_loop.h"
#include "async/task_group.h"

namespace millrace {
namespace {

using Shares = std::map<std::string, std::uint32_t>;

std::shared_ptr<const FunctionSpec> function(const std::string& name, std::uint32_t cpu = 1000,
                                             std::uint64_t memory = 1, std::uint32_t concurrency = 0) {
  FunctionSpec spec;
  spec.name = name;
  spec.cpu_millicores = cpu;
  spec.memory_bytes = memory;
  spec.concurrency = concurrency;
  return std::make_shared<const FunctionSpec>(spec);
}

class FairSchedulerTest : public testing::Test {
 protected:
  // Slots that are held until the test ends.
  void occupy(const std::shared_ptr<const FunctionSpec>& spec) {
    group_.spawn(hold(spec));
    ASSERT_TRUE(loop_.run_until_idle());
  }

  SimEventLoop loop_;
  Admission admission_{loop_, {.memory_bytes = 1000, .cpu_millicores = 4000}};
  std::vector<Admission::Slot> held_;
  FairScheduler scheduler_;

 private:
  Task<void> hold(std::shared_ptr<const FunctionSpec> spec) {
    auto slot = co_await admission_.acquire(spec, std::chrono::seconds(1), {});
    if (slot) held_.push_back(std::move(*slot));
  }

  TaskGroup group_{loop_};
};

TEST_F(FairSchedulerTest, NobodyAsksNobodyGets) {
  EXPECT_TRUE(scheduler_.share({}, admission_).empty());
  EXPECT_TRUE(scheduler_.share({{.function = function("a"), .pending = 0}}, admission_).empty());
}

TEST_F(FairSchedulerTest, ALoneFunctionGetsAllThatIsFreeAndNoMoreThanItHas) {
  EXPECT_EQ(scheduler_.share({{.function = function("a"), .pending = 100}}, admission_), (Shares{{"a", 4}}));
  EXPECT_EQ(scheduler_.share({{.function = function("a"), .pending = 3}}, admission_), (Shares{{"a", 3}}));
  EXPECT_EQ(
      scheduler_.share({{.function = function("a"), .pending = std::numeric_limits<std::uint64_t>::max()}}, admission_),
      (Shares{{"a", 4}}));
}

TEST_F(FairSchedulerTest, FunctionsShareEquallyWhateverTheirBacklog) {
  EXPECT_EQ(scheduler_.share(
                {{.function = function("flood"), .pending = 1'000'000}, {.function = function("small"), .pending = 2}},
                admission_),
            (Shares{{"flood", 2}, {"small", 2}}));
}

TEST_F(FairSchedulerTest, WhatOneCannotUseTheOthersGet) {
  EXPECT_EQ(
      scheduler_.share({{.function = function("flood"), .pending = 100}, {.function = function("one"), .pending = 1}},
                       admission_),
      (Shares{{"flood", 3}, {"one", 1}}));
}

TEST_F(FairSchedulerTest, TheOrderOfDemandsDoesNotMatter) {
  FairScheduler other;
  const auto a = function("a");
  const auto b = function("b");
  const auto c = function("c");
  const auto first = scheduler_.share(
      {{.function = a, .pending = 2}, {.function = b, .pending = 2}, {.function = c, .pending = 2}}, admission_);
  const auto second = other.share(
      {{.function = c, .pending = 2}, {.function = a, .pending = 2}, {.function = b, .pending = 2}}, admission_);
  EXPECT_EQ(first, second);
}

TEST_F(FairSchedulerTest, WithOneSlotAtATimeEverybodysTurnComes) {
  for (int i = 0; i < 3; ++i) occupy(function("busy"));
  std::vector<std::string> served;
  for (int round = 0; round < 6; ++round) {
    const auto shares = scheduler_.share({{.function = function("a"), .pending = 100},
                                          {.function = function("b"), .pending = 100},
                                          {.function = function("c"), .pending = 100}},
                                         admission_);
    ASSERT_EQ(shares.size(), 1U);
    ASSERT_EQ(shares.begin()->second, 1U);
    served.push_back(shares.begin()->first);
  }
  EXPECT_EQ(served, (std::vector<std::string>{"a", "b", "c", "a", "b", "c"}));
}

TEST_F(FairSchedulerTest, TheTurnGoesOnPastAFunctionThatIsGone) {
  for (int i = 0; i < 3; ++i) occupy(function("busy"));
  const auto a = function("a");
  const auto b = function("b");
  const auto c = function("c");
  EXPECT_EQ(scheduler_.share({{.function = a, .pending = 9}, {.function = b, .pending = 9}}, admission_),
            (Shares{{"a", 1}}));
  EXPECT_EQ(scheduler_.share({{.function = b, .pending = 9}, {.function = c, .pending = 9}}, admission_),
            (Shares{{"b", 1}}));
  // b, who was served last, is removed.
  EXPECT_EQ(scheduler_.share({{.function = a, .pending = 9}, {.function = c, .pending = 9}}, admission_),
            (Shares{{"c", 1}}));
  EXPECT_EQ(scheduler_.share({{.function = a, .pending = 9}}, admission_), (Shares{{"a", 1}}));
}

TEST_F(FairSchedulerTest, AFullNodeGrantsNothing) {
  for (int i = 0; i < 4; ++i) occupy(function("busy"));
  EXPECT_TRUE(scheduler_.share({{.function = function("a"), .pending = 9}}, admission_).empty());
}

TEST_F(FairSchedulerTest, MemoryBoundsLikeCpu) {
  EXPECT_EQ(scheduler_.share({{.function = function("a", 1, 300), .pending = 9}}, admission_), (Shares{{"a", 3}}));
  EXPECT_EQ(scheduler_.share({{.function = function("a", 1, 250), .pending = 9}}, admission_), (Shares{{"a", 4}}));
}

TEST_F(FairSchedulerTest, AFunctionLargerThanTheNodeGetsItAlone) {
  EXPECT_EQ(scheduler_.share({{.function = function("huge", 9000, 5000), .pending = 9}}, admission_),
            (Shares{{"huge", 1}}));
  occupy(function("busy"));
  EXPECT_TRUE(scheduler_.share({{.function = function("huge", 9000, 5000), .pending = 9}}, admission_).empty());
}

TEST_F(FairSchedulerTest, AFunctionsOwnLimitCountsWhatRunsAlready) {
  const auto limited = function("limited", 1000, 1, 3);
  EXPECT_EQ(scheduler_.share({{.function = limited, .pending = 9}}, admission_), (Shares{{"limited", 3}}));
  occupy(limited);
  EXPECT_EQ(scheduler_.share({{.function = limited, .pending = 9}}, admission_), (Shares{{"limited", 2}}));
  occupy(limited);
  occupy(limited);
  EXPECT_TRUE(scheduler_.share({{.function = limited, .pending = 9}}, admission_).empty());
}

TEST_F(FairSchedulerTest, CreditThatIsOutAlreadyIsNotGrantedTwice) {
  EXPECT_EQ(scheduler_.share({{.function = function("a"), .pending = 9, .outstanding = 3}}, admission_),
            (Shares{{"a", 1}}));
  EXPECT_TRUE(scheduler_.share({{.function = function("a"), .pending = 9, .outstanding = 4}}, admission_).empty());
  EXPECT_TRUE(scheduler_.share({{.function = function("a"), .pending = 2, .outstanding = 2}}, admission_).empty());
}

TEST_F(FairSchedulerTest, OneFunctionsOutstandingCreditLeavesLessForTheOthers) {
  EXPECT_EQ(scheduler_.share({{.function = function("a"), .pending = 3, .outstanding = 3},
                              {.function = function("b"), .pending = 9}},
                             admission_),
            (Shares{{"b", 1}}));
}

TEST_F(FairSchedulerTest, CreditThatNothingWaitsForTakesNoSlot) {
  EXPECT_EQ(scheduler_.share({{.function = function("a"), .pending = 0, .outstanding = 4},
                              {.function = function("b"), .pending = 9}},
                             admission_),
            (Shares{{"b", 4}}));
}

// Whatever is asked, what is granted fits the node, the limits and the backlogs, and nothing is left that would fit.
TEST_F(FairSchedulerTest, GrantsFitAndLeaveNothingThatFits) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
    std::vector<Demand> demands;
    for (std::uint32_t i = 0, count = 1 + below(6); i < count; ++i) {
      demands.push_back({.function = function("f" + std::to_string(i), 1 + below(2000), 1 + below(500), below(4)),
                         .pending = below(8)});
    }
    const auto shares = scheduler_.share(demands, admission_);
    std::uint64_t cpu = 0;
    std::uint64_t memory = 0;
    for (const auto& demand : demands) {
      const auto found = shares.find(demand.function->name);
      const std::uint32_t got = found == shares.end() ? 0 : found->second;
      cpu += std::uint64_t{got} * demand.function->cpu_millicores;
      memory += got * demand.function->memory_bytes;
      EXPECT_LE(got, demand.pending) << "seed " << seed;
      if (demand.function->concurrency != 0) EXPECT_LE(got, demand.function->concurrency) << "seed " << seed;
    }
    EXPECT_LE(cpu, 4000U) << "seed " << seed;
    EXPECT_LE(memory, 1000U) << "seed " << seed;
    for (const auto& demand : demands) {
      const auto found = shares.find(demand.function->name);
      const std::uint32_t got = found == shares.end() ? 0 : found->second;
      const bool wants =
          got < demand.pending && (demand.function->concurrency == 0 || got < demand.function->concurrency);
      const bool fits = cpu + demand.function->cpu_millicores <= 4000 && memory + demand.function->memory_bytes <= 1000;
      EXPECT_FALSE(wants && fits) << "seed " << seed << ": " << demand.function->name;
    }
  }
}

}  // namespace
}  // namespace millrace
