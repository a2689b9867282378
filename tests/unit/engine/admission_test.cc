#include "engine/admission.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "async/sim_event_loop.h"
#include "async/task_group.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using Spec = std::shared_ptr<const FunctionSpec>;

Spec function(const std::string& name, std::uint32_t cpu, std::uint64_t memory = 1, std::uint32_t concurrency = 0) {
  FunctionSpec spec;
  spec.name = name;
  spec.cpu_millicores = cpu;
  spec.memory_bytes = memory;
  spec.concurrency = concurrency;
  return std::make_shared<const FunctionSpec>(spec);
}

// Every test runs in several orders of what is ready together. The node: 4 cores, 1000 bytes.
class AdmissionTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  // Asks for a slot and keeps it under `name`; notes the name in `log_`, or the error's.
  void ask(const std::string& name, const Spec& spec, EventLoop::Duration hold = 5s, std::stop_token stop = {}) {
    group_.spawn(acquire(name, spec, hold, std::move(stop)));
  }
  void give_back(const std::string& name) { ASSERT_EQ(held_.erase(name), 1U) << name; }

  SimEventLoop loop_{GetParam()};
  Admission admission_{loop_, {.memory_bytes = 1000, .cpu_millicores = 4000}};
  std::map<std::string, Admission::Slot> held_;
  std::string log_;
  TaskGroup group_{loop_};

 private:
  Task<void> acquire(std::string name, Spec spec, EventLoop::Duration hold, std::stop_token stop) {
    auto slot = co_await admission_.acquire(spec, hold, stop);
    if (slot) {
      held_.emplace(name, std::move(*slot));
      log_ += name;
    } else {
      log_ += "(" + name + " " + std::string(name_of(slot.error().code)) + ")";
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Seeds, AdmissionTest, testing::Range<std::uint64_t>(1, 6));

TEST_P(AdmissionTest, AdmitsAtOnceWhileThereIsRoomAndTakesItsShare) {
  ask("a", function("f", 1500, 300));
  EXPECT_EQ(log_, "a");
  EXPECT_EQ(admission_.free().cpu_millicores, 2500U);
  EXPECT_EQ(admission_.free().memory_bytes, 700U);
  EXPECT_EQ(admission_.budget().cpu_millicores, 4000U);
  EXPECT_EQ(admission_.running("f"), 1U);
  give_back("a");
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U);
  EXPECT_EQ(admission_.free().memory_bytes, 1000U);
  EXPECT_EQ(admission_.running("f"), 0U);
}

TEST_P(AdmissionTest, TheLastBitOfCpuOrMemoryCanBeHadAndNotMore) {
  ask("a", function("f", 4000, 1));
  EXPECT_EQ(log_, "a");
  EXPECT_EQ(admission_.room(*function("g", 1)), 0U);
  give_back("a");
  ask("b", function("f", 1, 1000));
  EXPECT_EQ(log_, "ab");
  EXPECT_EQ(admission_.room(*function("g", 1)), 0U);
}

TEST_P(AdmissionTest, RoomSaysHowManyMoreWouldBeAdmitted) {
  EXPECT_EQ(admission_.room(*function("f", 1000)), 4U);
  EXPECT_EQ(admission_.room(*function("f", 1001)), 3U);
  EXPECT_EQ(admission_.room(*function("f", 1, 400)), 2U);
  EXPECT_EQ(admission_.room(*function("f", 1, 1, 7)), 7U);
  EXPECT_EQ(admission_.room(*function("f", 0, 0)), 1000U) << "asking for nothing counts as the least there is";
  EXPECT_EQ(admission_.room(*function("f", 9000, 9000)), 1U);
  ask("a", function("f", 500, 1, 2));
  EXPECT_EQ(admission_.room(*function("f", 500, 1, 2)), 1U);
  EXPECT_EQ(admission_.room(*function("f", 500, 1, 1)), 0U) << "its limit was lowered meanwhile";
  EXPECT_EQ(admission_.room(*function("f", 9000)), 0U) << "larger than the node only when nothing else runs";
}

TEST_P(AdmissionTest, ANodeWithoutBudgetAdmitsNothing) {
  const Admission none(loop_, {});
  EXPECT_EQ(none.room(*function("f", 1)), 0U);
  EXPECT_EQ(none.room(*function("f", 0, 0)), 0U);
}

TEST_P(AdmissionTest, AFunctionLargerThanTheNodeRunsAlone) {
  ask("a", function("huge", 9000, 9000));
  EXPECT_EQ(log_, "a");
  EXPECT_EQ(admission_.free().cpu_millicores, 0U);
  EXPECT_EQ(admission_.free().memory_bytes, 0U);
  ask("b", function("f", 1));
  EXPECT_EQ(log_, "a");
  give_back("a");
  loop_.run_for(0s);
  EXPECT_EQ(log_, "ab");
}

TEST_P(AdmissionTest, WaitsForASlotAndGetsTheOneThatIsGivenBack) {
  ask("a", function("f", 4000));
  ask("b", function("g", 4000));
  loop_.run_for(4s);
  EXPECT_EQ(log_, "a");
  give_back("a");
  EXPECT_EQ(admission_.running("g"), 1U) << "taken in the same step: nobody comes in between";
  loop_.run_for(0s);
  EXPECT_EQ(log_, "ab");
}

TEST_P(AdmissionTest, GivesUpAfterHoldAndNotBefore) {
  ask("a", function("f", 4000));
  ask("b", function("g", 1), 5s);
  loop_.run_for(4999ms);
  EXPECT_EQ(log_, "a");
  loop_.run_for(1ms);
  EXPECT_EQ(log_, "a(b resource_exhausted)");
  give_back("a");
  loop_.run_for(0s);
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U) << "who gave up takes nothing";
}

TEST_P(AdmissionTest, WhoGaveUpIsInNobodysWay) {
  ask("a", function("f", 3000));
  ask("b", function("large", 4000), 1s);
  loop_.run_for(1s);
  ask("c", function("g", 1000));
  EXPECT_EQ(log_, "a(b resource_exhausted)c");
}

TEST_P(AdmissionTest, WithoutHoldAFullNodeRefusesInTheNextStep) {
  ask("a", function("f", 4000));
  ask("b", function("f", 1), 0s);
  loop_.run_for(0s);
  EXPECT_EQ(log_, "a(b resource_exhausted)");
}

TEST_P(AdmissionTest, AStopEndsTheWait) {
  std::stop_source stop;
  ask("a", function("f", 4000));
  ask("b", function("f", 1), 5s, stop.get_token());
  stop.request_stop();
  loop_.run_for(0s);
  EXPECT_EQ(log_, "a(b cancelled)");
  give_back("a");
  loop_.run_for(0s);
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U);
}

TEST_P(AdmissionTest, WhoIsStoppedAlreadyDoesNotWait) {
  std::stop_source stop;
  stop.request_stop();
  ask("a", function("f", 4000));
  ask("b", function("f", 1), 5s, stop.get_token());
  loop_.run_for(0s);
  EXPECT_EQ(log_, "a(b cancelled)");
}

TEST_P(AdmissionTest, OfASlotAndAStopInOneStepTheFirstStands) {
  std::stop_source stop;
  ask("a", function("f", 4000));
  ask("b", function("g", 4000), 5s, stop.get_token());
  give_back("a");
  stop.request_stop();
  loop_.run_for(0s);
  EXPECT_EQ(log_, "ab");

  std::stop_source other;
  ask("c", function("h", 4000), 5s, other.get_token());
  other.request_stop();
  give_back("b");
  loop_.run_for(0s);
  EXPECT_EQ(log_, "ab(c cancelled)");
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U);
}

TEST_P(AdmissionTest, WaitersAreServedInTheOrderOfTheirArrival) {
  ask("a", function("f", 4000));
  for (const char* name : {"b", "c", "d", "e"}) ask(name, function("f", 4000));
  for (const char* name : {"a", "b", "c", "d"}) {
    give_back(name);
    loop_.run_for(0s);
  }
  EXPECT_EQ(log_, "abcde");
}

TEST_P(AdmissionTest, OneSlotGivenBackMayServeSeveral) {
  ask("a", function("f", 4000));
  for (const char* name : {"b", "c", "d"}) ask(name, function("f", 2000));
  give_back("a");
  loop_.run_for(0s);
  EXPECT_EQ(held_.size(), 2U);
  EXPECT_TRUE(held_.contains("b"));
  EXPECT_TRUE(held_.contains("c"));
}

TEST_P(AdmissionTest, AFunctionAtItsOwnLimitIsPassedBy) {
  const auto limited = function("limited", 1000, 1, 1);
  ask("a", limited);
  ask("b", function("f", 3000));
  ask("c", limited);
  ask("d", function("f", 3000));
  give_back("b");
  loop_.run_for(0s);
  EXPECT_EQ(log_, "abd");
  give_back("a");
  loop_.run_for(0s);
  EXPECT_EQ(log_, "abdc");
}

TEST_P(AdmissionTest, ConcurrencyCountsTheFunctionsRevisionsTogether) {
  ask("a", function("f", 1000, 1, 2));
  ask("b", function("f", 500, 1, 2));
  ask("c", function("f", 500, 1, 2));
  loop_.run_for(1s);
  EXPECT_EQ(log_, "ab");
  EXPECT_EQ(admission_.running("f"), 2U);
}

TEST_P(AdmissionTest, ASlotCanBeGivenBackEarlyAndOnlyOnce) {
  ask("a", function("f", 1000, 10));
  held_.at("a").release();
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U);
  held_.at("a").release();
  give_back("a");
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U);
  EXPECT_EQ(admission_.free().memory_bytes, 1000U);
}

TEST_P(AdmissionTest, AMovedSlotIsGivenBackByItsNewOwnerOnly) {
  ask("a", function("f", 1000));
  {
    std::optional<Admission::Slot> owner(std::move(held_.at("a")));
    give_back("a");
    EXPECT_EQ(admission_.running("f"), 1U);
    owner.reset();
  }
  EXPECT_EQ(admission_.running("f"), 0U);
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U);
}

TEST_P(AdmissionTest, TheListenerIsToldOnceForManySlotsOfOneStep) {
  int told = 0;
  admission_.on_room([&told] { ++told; });
  for (const char* name : {"a", "b", "c"}) ask(name, function("f", 1000));
  give_back("a");
  give_back("b");
  EXPECT_EQ(told, 0) << "in a step of its own";
  loop_.run_for(0s);
  EXPECT_EQ(told, 1);
  give_back("c");
  loop_.run_for(0s);
  EXPECT_EQ(told, 2);
}

// Whatever comes and goes: never more than the node, and everything is free again at the end.
TEST_P(AdmissionTest, TheSharesAlwaysAddUp) {
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  const auto below = [&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
  std::map<std::string, Spec> asked;
  for (int i = 0; i < 400; ++i) {
    const std::string name = "r" + std::to_string(i);
    asked[name] = function("f" + std::to_string(below(5)), 1 + below(3000), 1 + below(700), below(3));
    ask(name, asked[name], std::chrono::milliseconds(below(2000)));
    if (!held_.empty() && below(2) == 0) {
      held_.erase(std::next(held_.begin(), static_cast<std::ptrdiff_t>(random() % held_.size())));
    }
    loop_.run_for(std::chrono::milliseconds(below(100)));
    std::uint64_t cpu = 0;
    std::uint64_t memory = 0;
    for (const auto& [owner, slot] : held_) {
      cpu += asked.at(owner)->cpu_millicores;
      memory += asked.at(owner)->memory_bytes;
    }
    ASSERT_EQ(cpu + admission_.free().cpu_millicores, 4000U) << "seed " << GetParam();
    ASSERT_EQ(memory + admission_.free().memory_bytes, 1000U) << "seed " << GetParam();
  }
  while (!held_.empty()) {
    held_.clear();
    loop_.run_for(3s);
  }
  EXPECT_EQ(group_.size(), 0U);
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U);
  EXPECT_EQ(admission_.free().memory_bytes, 1000U);
}

}  // namespace
}  // namespace millrace
