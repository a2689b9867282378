#include "engine/fair_scheduler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
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
                                             std::uint64_t memory = 1, std::uint32_t concurrency = 0,
                                             std::uint32_t weight = 1) {
  FunctionSpec spec;
  spec.weight = weight;
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

TEST_F(FairSchedulerTest, AWeightOfTwoGetsTwoOfThree) {
  for (int i = 0; i < 3; ++i) occupy(function("busy"));
  std::string served;
  for (int round = 0; round < 6; ++round) {
    const auto shares = scheduler_.share(
        {{.function = function("a", 1000, 1, 0, 2), .pending = 100}, {.function = function("b"), .pending = 100}},
        admission_);
    ASSERT_EQ(shares.size(), 1U);
    served += shares.begin()->first;
  }
  EXPECT_EQ(served, "aabaab");
}

TEST_F(FairSchedulerTest, ATurnIsAShareOfTheNodeAndNotAnEvent) {
  EXPECT_EQ(scheduler_.share({{.function = function("large", 2000), .pending = 100},
                              {.function = function("small", 500), .pending = 100}},
                             admission_),
            (Shares{{"large", 1}, {"small", 4}}));
  EXPECT_EQ(scheduler_.share({{.function = function("large", 1, 500), .pending = 100},
                              {.function = function("small", 1, 100), .pending = 100}},
                             admission_),
            (Shares{{"large", 1}, {"small", 5}}))
      << "memory is a share as well as cpu";
}

TEST_F(FairSchedulerTest, WhoWaitsForNothingSavesNothingUp) {
  for (int i = 0; i < 3; ++i) occupy(function("busy"));
  const auto heavy = function("a", 1000, 1, 0, 100);
  EXPECT_EQ(
      scheduler_.share({{.function = heavy, .pending = 1}, {.function = function("b"), .pending = 9}}, admission_),
      (Shares{{"a", 1}}));
  std::string served;
  for (int round = 0; round < 4; ++round) {
    const auto shares = scheduler_.share(
        {{.function = function("a"), .pending = 9}, {.function = function("b"), .pending = 9}}, admission_);
    ASSERT_EQ(shares.size(), 1U);
    served += shares.begin()->first;
  }
  EXPECT_EQ(served, "baba") << "the hundred events of its weight were not kept";
}

// So many rounds of an empty node that `functions` flood; what each was granted.
Shares flooded(const std::vector<std::shared_ptr<const FunctionSpec>>& functions, int rounds) {
  SimEventLoop loop;
  const Admission admission(loop, {.memory_bytes = 1000, .cpu_millicores = 4000});
  FairScheduler scheduler;
  Shares all;
  for (int round = 0; round < rounds; ++round) {
    std::vector<Demand> demands;
    for (const auto& each : functions) demands.push_back({.function = each, .pending = 1'000});
    for (const auto& [name, count] : scheduler.share(std::move(demands), admission)) all[name] += count;
  }
  return all;
}

RC_GTEST_PROP(FairShares, FollowTheWeights, ()) {
  const auto cpu = *rc::gen::inRange<std::uint32_t>(200, 4001);
  std::vector<std::shared_ptr<const FunctionSpec>> functions;
  for (int i = 0, count = *rc::gen::inRange(2, 6); i < count; ++i) {
    functions.push_back(function("f" + std::to_string(i), cpu, 1, 0, *rc::gen::inRange<std::uint32_t>(1, 10)));
  }
  const Shares all = flooded(functions, 200);
  double least = 1e9;
  double most = 0;
  for (const auto& each : functions) {
    RC_ASSERT(all.contains(each->name));
    const double by_weight = static_cast<double>(all.at(each->name)) / each->weight;
    least = std::min(least, by_weight);
    most = std::max(most, by_weight);
  }
  RC_ASSERT(least + 1 >= 0.8 * most);
}

// Whatever their sizes and weights: what comes of a turn depends on how runs fit together, but everybody has turns.
RC_GTEST_PROP(FairShares, LeaveNobodyOut, ()) {
  std::vector<std::shared_ptr<const FunctionSpec>> functions;
  std::uint32_t weights = 0;
  for (int i = 0, count = *rc::gen::inRange(2, 6); i < count; ++i) {
    functions.push_back(function("f" + std::to_string(i), *rc::gen::inRange<std::uint32_t>(1, 8000),
                                 *rc::gen::inRange<std::uint64_t>(1, 2000), 0,
                                 *rc::gen::inRange<std::uint32_t>(1, 10)));
    weights += functions.back()->weight;
  }
  const int rounds = 4 * static_cast<int>(weights);  // each empties at least one turn's worth
  RC_ASSERT(flooded(functions, rounds).size() == functions.size());
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
