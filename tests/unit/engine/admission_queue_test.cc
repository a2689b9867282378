// Who waits for whom when the node is full.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

#include "engine/fair_scheduler.h"
#include "tests/support/engine_rig.h"

namespace millrace {
namespace {
using namespace std::chrono_literals;
using Spec = std::shared_ptr<const FunctionSpec>;
using MaybeSlot = std::optional<Result<Admission::Slot>>;

Spec function(const std::string& name, std::uint32_t cpu, std::uint32_t concurrency = 0) {
  FunctionSpec spec;
  spec.name = name;
  spec.cpu_millicores = cpu;
  spec.memory_bytes = 1;
  spec.concurrency = concurrency;
  return std::make_shared<const FunctionSpec>(spec);
}

class AdmissionQueue : public testing::Test {
 protected:
  void ask(MaybeSlot& held, Spec spec, EventLoop::Duration hold = 5s) {
    group_.spawn(keep_value(admission_.acquire(std::move(spec), hold, {}), held));
  }
  SimEventLoop loop_;
  Admission admission_{loop_, {.memory_bytes = 1000, .cpu_millicores = 4000}};
  TaskGroup group_{loop_};
};

TEST_F(AdmissionQueue, ANewcomerWithRoomDoesNotWaitBehindAFunctionAtItsOwnLimit) {
  MaybeSlot a, b, c;
  ask(a, function("limited", 1000, 1), 60s);
  ask(b, function("limited", 1000, 1), 60s);
  ask(c, function("free", 1000), 5s);
  loop_.run_for(6s);
  ASSERT_TRUE(c);
  EXPECT_TRUE(*c) << "3 of 4 cores were free: " << (*c ? "" : c->error().message);
}

TEST_F(AdmissionQueue, WhoWaitsBehindOneThatGivesUpIsServedThen) {
  // Passing-by semantics hold on arrival too: nothing but a release looks at the queue.
  MaybeSlot a, b, c;
  ask(a, function("x", 3000), 60s);
  ask(b, function("big", 4000), 1s);
  ask(c, function("small", 1000), 30s);
  loop_.run_for(10s);
  EXPECT_TRUE(c && *c) << "1 core is free and nobody else waits any more";
}

TEST_F(AdmissionQueue, AWaiterThatIsDroppedTakesNoSlot) {
  MaybeSlot a, b, d;
  ask(a, function("f", 4000));
  {
    TaskGroup dropped(loop_);
    dropped.spawn(keep_value(admission_.acquire(function("g", 4000), 5s, {}), b));
    dropped.spawn(keep_value(admission_.acquire(function("g", 4000), 5s, {}), d));
  }
  a.reset();
  loop_.run_for(1s);
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U);
  MaybeSlot c;
  ask(c, function("h", 1000));
  loop_.run_for(0s);
  ASSERT_TRUE(c) << "the node is empty";
  EXPECT_TRUE(*c);
  c.reset();
  EXPECT_EQ(admission_.free().cpu_millicores, 4000U);
}

TEST_F(AdmissionQueue, ALargeFunctionIsNotPassedByForEver) {
  std::vector<std::unique_ptr<MaybeSlot>> small;
  for (int i = 0; i < 4; ++i) ask(*small.emplace_back(std::make_unique<MaybeSlot>()), function("small", 1000), 600s);
  MaybeSlot large;
  ask(large, function("large", 4000), 600s);
  for (int i = 0; i < 100 && !large; ++i) {
    for (int k = 0; k < 2; ++k) ask(*small.emplace_back(std::make_unique<MaybeSlot>()), function("small", 1000), 600s);
    for (auto& one : small) {
      if (one->has_value()) {
        one->reset();
        break;
      }
    }
    loop_.run_for(1s);
  }
  EXPECT_TRUE(large) << "100 later comers were served before it";
}

TEST(FairSchedulerAging, ALargeFunctionIsNotStarvedBySmallOnes) {
  SimEventLoop loop;
  Admission admission(loop, {.memory_bytes = 1000, .cpu_millicores = 4000});
  TaskGroup group(loop);
  FairScheduler scheduler;
  std::vector<MaybeSlot> running(4);
  for (auto& one : running) group.spawn(keep_value(admission.acquire(function("small", 1000), 1s, {}), one));
  for (int i = 0; i < 100; ++i) {
    running[static_cast<std::size_t>(i % 4)].reset();  // one ends, one core is free
    const auto shares = scheduler.share(
        {{.function = function("large", 2000), .pending = 1}, {.function = function("small", 1000), .pending = 1000}},
        admission);
    if (shares.contains("large")) return;
    if (shares.contains("small"))
      group.spawn(
          keep_value(admission.acquire(function("small", 1000), 1s, {}), running[static_cast<std::size_t>(i % 4)]));
    loop.run_for(1ms);
  }
  FAIL() << "100 turns and never one for the large function";
}

}  // namespace
}  // namespace millrace
