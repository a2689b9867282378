#include "engine/circuits.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "engine/guarded_store.h"
#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using Leave = Circuits::Leave;

const Error kAway{.code = Errc::unavailable, .message = "away"};

TEST(CircuitBreaker, OpensAfterErrorsInARowOnly) {
  CircuitBreaker breaker({.errors = 3});
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(breaker.failed({}));
    EXPECT_FALSE(breaker.failed({}));
    EXPECT_FALSE(breaker.worked());
  }
  EXPECT_FALSE(breaker.failed({}));
  EXPECT_FALSE(breaker.failed({}));
  EXPECT_FALSE(breaker.open());
  EXPECT_TRUE(breaker.failed({}));
  EXPECT_TRUE(breaker.open());
  EXPECT_FALSE(breaker.failed({})) << "it is open already";
}

TEST(CircuitBreaker, RestsLongerAfterEveryProbeThatFailsUpToItsCap) {
  CircuitBreaker breaker({.errors = 1, .rest_base = 1s, .rest_cap = 5s});
  EventLoop::TimePoint now{};
  breaker.failed(now);
  for (const auto rest : {1s, 2s, 4s, 5s, 5s}) {
    EXPECT_EQ(breaker.next_probe(), now + rest);
    EXPECT_FALSE(breaker.probe_due(now + rest - 1ms));
    now += rest;
    EXPECT_TRUE(breaker.probe_due(now));
    breaker.probing(now);
    EXPECT_FALSE(breaker.probe_due(now)) << "one at a time";
    breaker.failed(now);
  }
}

// What was on its way when it opened says nothing that is not known.
TEST(CircuitBreaker, OfTheErrorsWhileItRestsOnlyTheProbesCounts) {
  CircuitBreaker breaker({.errors = 1, .rest_base = 1s, .rest_cap = 60s});
  breaker.failed(EventLoop::TimePoint{});
  const auto next = breaker.next_probe();
  for (int i = 0; i < 10; ++i) breaker.failed(EventLoop::TimePoint{} + 500ms);
  EXPECT_EQ(breaker.next_probe(), next);
}

TEST(CircuitBreaker, AProbeThatIsNeverHeardOfIsFollowedByAnother) {
  CircuitBreaker breaker({.errors = 1, .rest_base = 1s});
  breaker.failed(EventLoop::TimePoint{});
  breaker.probing(EventLoop::TimePoint{} + 1s);
  EXPECT_TRUE(breaker.probe_due(EventLoop::TimePoint{} + 2s));
}

TEST(CircuitBreaker, ASuccessClosesItAndTheCountBeginsAnew) {
  CircuitBreaker breaker({.errors = 2, .rest_base = 1s});
  breaker.failed({});
  breaker.failed({});
  EXPECT_TRUE(breaker.worked());
  EXPECT_FALSE(breaker.open());
  EXPECT_FALSE(breaker.worked());
  EXPECT_FALSE(breaker.failed({}));
}

class CircuitsTest : public testing::Test {
 protected:
  CircuitsTest() {
    circuits_.on_closed([this] { ++closed_; });
  }
  void trouble(const std::string& function, int times) {
    for (int i = 0; i < times; ++i) circuits_.trouble(function, kAway);
  }

  EngineRig rig_;
  Circuits circuits_{
      rig_.loop, {.function = {.errors = 3}, .store = {.errors = 4}}, rig_.parts.metrics, rig_.parts.log};
  FunctionSpec f_ = EngineParts::function("f", "in", "out");
  FunctionSpec g_ = EngineParts::function("g", {}, "out");
  FunctionSpec called_ = EngineParts::function("called");
  int closed_ = 0;
};

TEST_F(CircuitsTest, AFunctionInTroubleRestsAloneAndIsProbed) {
  trouble("f", 2);
  EXPECT_EQ(circuits_.leave(f_), Leave::any);
  EXPECT_FALSE(circuits_.resting(f_));
  trouble("f", 1);
  EXPECT_EQ(circuits_.leave(f_), Leave::none);
  EXPECT_EQ(circuits_.leave(g_), Leave::any);
  ASSERT_TRUE(circuits_.resting(f_));
  EXPECT_EQ(circuits_.resting(f_)->what, "function");
  EXPECT_EQ(circuits_.resting(f_)->reason, "away");
  EXPECT_EQ(circuits_.resting(f_)->next_try, 1s);
  rig_.loop.run_for(1s);
  EXPECT_EQ(circuits_.leave(f_), Leave::one);
  circuits_.probing(f_);
  EXPECT_EQ(circuits_.leave(f_), Leave::none);
  EXPECT_EQ(closed_, 0);
  circuits_.went_well(f_);
  EXPECT_EQ(circuits_.leave(f_), Leave::any);
  EXPECT_EQ(closed_, 1);
}

TEST_F(CircuitsTest, AStoreInTroubleRestsAllWhoUseIt) {
  for (int i = 0; i < 4; ++i) circuits_.store_trouble("local", kAway);
  EXPECT_EQ(circuits_.leave(f_), Leave::none);
  EXPECT_EQ(circuits_.leave(g_), Leave::none);
  EXPECT_EQ(circuits_.leave(called_), Leave::any);
  EXPECT_EQ(circuits_.resting(g_)->what, "store local");
  rig_.loop.run_for(1s);
  EXPECT_EQ(circuits_.leave(g_), Leave::one);
  circuits_.probing(g_);
  EXPECT_EQ(circuits_.leave(f_), Leave::none) << "one probe for all";
  circuits_.went_well(called_);
  EXPECT_EQ(circuits_.leave(f_), Leave::none) << "that one does not use it";
  circuits_.went_well(g_);
  EXPECT_EQ(circuits_.leave(f_), Leave::any);
}

TEST_F(CircuitsTest, WhoeverIsInTroubleShowsInTheMetrics) {
  trouble("f", 3);
  EXPECT_NE(rig_.parts.metrics.render().find(R"(millrace_circuit_open{kind="function",name="f"} 1)"),
            std::string::npos);
  EXPECT_NE(rig_.parts.metrics.render().find(R"(millrace_circuits_opened_total{kind="function"} 1)"),
            std::string::npos);
  circuits_.went_well(f_);
  EXPECT_NE(rig_.parts.metrics.render().find(R"(millrace_circuit_open{kind="function",name="f"} 0)"),
            std::string::npos);
}

TEST_F(CircuitsTest, ARemovedFunctionIsForgotten) {
  trouble("f", 3);
  circuits_.forget("f");
  EXPECT_EQ(circuits_.leave(f_), Leave::any);
}

TEST_F(CircuitsTest, OnlyErrorsThatMayPassAreTheStoresTrouble) {
  GuardedObjects objects(rig_.parts.storage, "local", circuits_);
  GuardedOutputs outputs(rig_.parts.storage, "local", circuits_);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(rig_.wait(objects.stat("in", "none")));
    EXPECT_FALSE(rig_.wait(outputs.mark_of({.bucket = "in", .key = "none", .version = {}, .private_path = {}})));
  }
  EXPECT_EQ(circuits_.leave(f_), Leave::any);
  rig_.parts.storage.fail_next(StorageCall::open, 2, kAway);
  rig_.parts.storage.fail_next(StorageCall::make_attempt, 2, {.code = Errc::no_space, .message = "full"});
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(rig_.wait(objects.open({})));
    EXPECT_FALSE(rig_.wait(outputs.make_attempt({})));
  }
  EXPECT_EQ(circuits_.leave(f_), Leave::none);
  EXPECT_EQ(circuits_.resting(f_)->reason, "full");
}

}  // namespace
}  // namespace millrace
