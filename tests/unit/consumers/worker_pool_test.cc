#include "consumers/worker_pool.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using Verdicts = std::vector<std::string>;

// A node of 4 cores; functions of one core each.
class WorkerPoolTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  WorkerPoolTest() { rig_.parts.registry.observe(pool_); }

  void apply(const std::string& name, std::chrono::milliseconds takes = 10ms) {
    rig_.parts.executor.define(name, takes, [this](const ExecutionRequest& request, int) -> Result<Execution> {
      rig_.parts.storage.leave(request.output_path, "x");
      return ended(AttemptOutcome::succeeded);
    });
    rig_.apply(EngineParts::function(name, "in-" + name, "out"));
    rig_.loop.run_for(0s);
  }
  // Messages in the broker that nobody has asked for yet.
  std::vector<std::shared_ptr<DeliveryReport>> flood(const std::string& name, std::size_t count) {
    std::vector<std::shared_ptr<DeliveryReport>> reports;
    for (std::size_t i = 0; i < count; ++i) {
      Event event;
      event.object = rig_.parts.storage.put("in-" + name, "k" + std::to_string(++made_));
      event.id = object_event_id(*event.object);
      event.order = Order(rig_.parts.ulids.make(rig_.loop.wall_now()));
      reports.push_back(std::make_shared<DeliveryReport>());
      reports.back()->published_at = rig_.loop.wall_now();
      broker().deliver(work_topic(name), std::make_unique<FakeDelivery>(rig_.loop, event, reports.back()));
    }
    broker().lags[work_topic(name)].pending += count;
    broker().tell_backlog(work_topic(name));
    rig_.loop.run_for(0s);
    return reports;
  }
  FakeBroker& broker() { return rig_.parts.broker; }
  // As the broker counts: what was handed out is no longer pending.
  void pending(const std::string& name, std::uint64_t count) { broker().lags[work_topic(name)].pending = count; }
  static Task<void> stop(WorkerPool& pool, EventLoop::Duration grace, bool& stopped) {
    co_await pool.stop(grace);
    stopped = true;
  }
  Task<void> stop(EventLoop::Duration grace) { return stop(pool_, grace, stopped_); }

  EngineRig rig_{GetParam()};
  DeliveryHandler handler_{rig_.loop,        rig_.parts.admission, rig_.parts.invoker, rig_.parts.finish,
                           rig_.parts.state, rig_.parts.runs,      {.hold = 5s},       rig_.parts.log};
  WorkerPool pool_{rig_.loop, rig_.parts.broker, rig_.parts.admission, handler_, rig_.parts.log};
  TaskGroup group_{rig_.loop};
  bool stopped_ = false;
  int made_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Seeds, WorkerPoolTest, testing::Range<std::uint64_t>(1, 6));

TEST_P(WorkerPoolTest, AnAppliedFunctionIsSubscribedOnceAndGrantedNothingWithoutABacklog) {
  apply("f");
  EXPECT_EQ(broker().subscriptions("fn.f"), 1);
  EXPECT_EQ(broker().granted("fn.f"), 0U);
  auto changed = EngineParts::function("f", "in-f", "out");
  changed.retries = 9;
  rig_.apply(changed);
  EXPECT_EQ(broker().subscriptions("fn.f"), 1);
}

TEST_P(WorkerPoolTest, WhatWasPublishedWhileNobodyWasSubscribedIsAskedFor) {
  pending("f", 2);
  apply("f");
  EXPECT_EQ(broker().granted("fn.f"), 2U);
}

TEST_P(WorkerPoolTest, ASubscriptionThatFailsIsTheAnswerAndIsTriedAgain) {
  rig_.parts.executor.define("f", 10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::succeeded); });
  broker().subscribe_error = Error{.code = Errc::unavailable, .message = "away"};
  std::vector<FunctionSpec> specs{EngineParts::function("f", "in-f", "out")};
  const auto applied = rig_.wait(rig_.parts.registry.apply(specs));
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::unavailable);
  EXPECT_EQ(broker().subscriptions("fn.f"), 0);
  broker().subscribe_error.reset();
  EXPECT_TRUE(rig_.wait(rig_.parts.registry.apply(specs)));
  EXPECT_EQ(broker().subscriptions("fn.f"), 1);
}

TEST_P(WorkerPoolTest, ASubscriptionThatFailsAtStartIsMadeLater) {
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(EngineParts::function("f", "in-f", "out"))));
  broker().subscribe_error = Error{.code = Errc::unavailable, .message = "away"};
  ASSERT_TRUE(rig_.wait(rig_.parts.registry.load()));
  rig_.group.spawn(rig_.parts.registry.prepare_the_rest(rig_.group.stop_token()));
  rig_.loop.run_for(30s);
  EXPECT_EQ(broker().subscriptions("fn.f"), 0);
  broker().subscribe_error.reset();
  rig_.loop.run_for(60s);
  EXPECT_EQ(broker().subscriptions("fn.f"), 1);
}

TEST_P(WorkerPoolTest, ABacklogIsWorkedOff) {
  apply("f");
  const auto reports = flood("f", 4);
  pending("f", 0);
  rig_.loop.run_for(10s);
  for (const auto& report : reports) EXPECT_EQ(report->verdicts, Verdicts{"ack"});
  EXPECT_EQ(rig_.parts.admission.free().cpu_millicores, 4000U);
}

TEST_P(WorkerPoolTest, NoMoreIsAskedForThanTheNodeHolds) {
  apply("f", 600s);
  flood("f", 100);
  EXPECT_EQ(broker().granted("fn.f"), 4U);
  EXPECT_EQ(rig_.parts.admission.running("f"), 4U);
  for (int i = 0; i < 5; ++i) {
    broker().tell_backlog("fn.f");
    rig_.loop.run_for(1s);
  }
  EXPECT_EQ(broker().granted("fn.f"), 4U) << "being told again frees no slot";
  EXPECT_EQ(rig_.parts.executor.running_max(), 4);
}

TEST_P(WorkerPoolTest, CreditThatWaitsForItsMessageIsNotGrantedAgain) {
  apply("f");
  pending("f", 3);  // counted, but on its way still
  for (int i = 0; i < 5; ++i) {
    broker().tell_backlog("fn.f");
    rig_.loop.run_for(1s);
    EXPECT_EQ(broker().credit("fn.f"), 3U);
  }
}

TEST_P(WorkerPoolTest, ASlotThatComesBackBringsTheNextMessage) {
  apply("f", 10s);
  const auto reports = flood("f", 9);
  std::uint64_t left = 9;
  for (int round = 0; round < 60; ++round) {
    rig_.loop.run_for(1s);
    left = 0;
    for (const auto& report : reports) left += !report->begun;
    pending("f", left);
  }
  EXPECT_EQ(left, 0U);
  for (const auto& report : reports) EXPECT_EQ(report->verdicts, Verdicts{"ack"});
  EXPECT_EQ(rig_.parts.executor.running_max(), 4);
  EXPECT_LE(broker().credit("fn.f"), 4U);
}

TEST_P(WorkerPoolTest, AFloodLeavesTheNextSlotToAnother) {
  apply("flood", 10s);
  apply("small", 10s);
  flood("flood", 100);
  ASSERT_EQ(rig_.parts.admission.running("flood"), 4U);
  pending("flood", 96);
  const auto small = flood("small", 1);
  EXPECT_FALSE(small[0]->begun);
  rig_.loop.run_for(15s);
  EXPECT_TRUE(small[0]->begun);
  EXPECT_LT(rig_.parts.executor.executions("flood"), 9);
}

TEST_P(WorkerPoolTest, ABacklogOfAFunctionNobodyAppliedIsNobodysBusiness) {
  broker().tell_backlog("fn.unknown");
  broker().tell_backlog("user.topic");
  pending("unknown", 10);
  rig_.loop.run_for(1s);
  EXPECT_EQ(broker().granted("fn.unknown"), 0U);
}

TEST_P(WorkerPoolTest, DeliveriesAreRunWithTheRevisionOfTheirDay) {
  apply("f");
  auto changed = EngineParts::function("f", "in-f", "out");
  changed.retries = 0;
  rig_.apply(changed);
  const auto reports = flood("f", 1);
  rig_.loop.run_for(1s);
  ASSERT_EQ(reports[0]->verdicts, Verdicts{"ack"});
  const auto runs = rig_.wait(rig_.parts.state.runs().list({}));
  ASSERT_EQ(runs->size(), 1U);
  EXPECT_EQ(runs->front().revision, 2U);
}

TEST_P(WorkerPoolTest, ARemovedFunctionAsksForNothingMoreAndItsRunsFinish) {
  apply("f", 10s);
  const auto reports = flood("f", 1);
  pending("f", 100);
  ASSERT_TRUE(rig_.wait(rig_.parts.registry.remove("f")));
  rig_.loop.run_for(0s);
  EXPECT_EQ(broker().subscriptions("fn.f"), 1) << "a subscription outlives its deliveries";
  const auto granted = broker().granted("fn.f");
  broker().tell_backlog("fn.f");
  rig_.loop.run_for(60s);
  EXPECT_EQ(broker().granted("fn.f"), granted);
  EXPECT_EQ(broker().subscriptions("fn.f"), 0);
  EXPECT_EQ(reports[0]->verdicts, Verdicts{"ack"});
}

TEST_P(WorkerPoolTest, ARemovedFunctionWithNothingToDoIsUnsubscribedAtOnce) {
  apply("f");
  ASSERT_TRUE(rig_.wait(rig_.parts.registry.remove("f")));
  rig_.loop.run_for(0s);
  EXPECT_EQ(broker().subscriptions("fn.f"), 0);
}

TEST_P(WorkerPoolTest, OneUnreadableMessageDoesNotEndTheSubscription) {
  apply("f");
  pending("f", 1);
  broker().tell_backlog("fn.f");
  rig_.loop.run_for(0s);
  for (int i = 0; i < 3; ++i) {
    broker().break_subscription("fn.f", {.code = Errc::data_loss, .message = "segment 7 is corrupt"});
    rig_.loop.run_for(10s);
  }
  const auto reports = flood("f", 1);
  rig_.loop.run_for(10s);
  EXPECT_EQ(reports[0]->verdicts, Verdicts{"ack"});
}

TEST_P(WorkerPoolTest, AFunctionRemovedWhileItsSubscriptionRestsIsUnsubscribedAtOnce) {
  apply("f");
  broker().break_subscription("fn.f", {.code = Errc::data_loss, .message = "segment 7 is corrupt"});
  rig_.loop.run_for(1ms);
  ASSERT_TRUE(rig_.wait(rig_.parts.registry.remove("f")));
  rig_.loop.run_for(0s);
  EXPECT_EQ(broker().subscriptions("fn.f"), 0);
}

TEST_P(WorkerPoolTest, ALagThatFailsIsAskedAgain) {
  apply("f");
  broker().failing_lags = 3;
  const auto reports = flood("f", 1);
  EXPECT_FALSE(reports[0]->begun);
  rig_.loop.run_for(60s);
  EXPECT_EQ(broker().failing_lags, 0);
  EXPECT_EQ(reports[0]->verdicts, Verdicts{"ack"});
}

// Circuits: what keeps runs from running is not the function's doing, and asking for more of them helps nobody.
class WorkerPoolCircuits : public WorkerPoolTest {
 protected:
  WorkerPoolCircuits() {
    handler_.report_to(rig_.parts.circuits);
    pool_.obey(rig_.parts.circuits);
    apply("f");
    rig_.parts.executor.define("f", 10ms, [this](const ExecutionRequest&, int) -> Result<Execution> {
      if (away_) return fail(Errc::unavailable, "no launcher");
      return ended(AttemptOutcome::succeeded);
    });
  }
  // Five events that meet the trouble; then a backlog.
  void get_into_trouble() {
    for (const std::size_t count : {4U, 1U}) {
      flood("f", count);
      pending("f", 0);
      rig_.loop.run_for(250ms);
    }
    ASSERT_TRUE(rig_.parts.circuits.resting(*function()));
    granted_ = broker().granted("fn.f");
    pending("f", 100);
    broker().tell_backlog("fn.f");
  }
  std::shared_ptr<const FunctionSpec> function() { return rig_.parts.registry.find("f"); }
  std::uint32_t more() { return broker().granted("fn.f") - granted_; }

  bool away_ = true;
  std::uint32_t granted_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Seeds, WorkerPoolCircuits, testing::Range<std::uint64_t>(1, 6));

TEST_P(WorkerPoolCircuits, AfterErrorsInARowOneIsAskedForAfterARest) {
  get_into_trouble();
  rig_.loop.run_for(400ms);
  EXPECT_EQ(more(), 0U) << "it rests";
  rig_.loop.run_for(1s);
  EXPECT_EQ(more(), 1U) << "the probe";
  rig_.loop.run_for(500ms);
  EXPECT_EQ(more(), 1U) << "which is waited for";
}

TEST_P(WorkerPoolCircuits, AProbeThatSucceedsOpensTheDoor) {
  get_into_trouble();
  away_ = false;
  rig_.loop.run_for(1500ms);
  ASSERT_EQ(more(), 1U);
  flood("f", 1);
  rig_.loop.run_for(100ms);
  EXPECT_FALSE(rig_.parts.circuits.resting(*function()));
  pending("f", 100);
  broker().tell_backlog("fn.f");
  rig_.loop.run_for(10ms);
  EXPECT_EQ(broker().credit("fn.f"), 4U);
}

TEST_P(WorkerPoolCircuits, AProbeThatFailsIsFollowedByALongerRest) {
  get_into_trouble();
  rig_.loop.run_for(1500ms);
  ASSERT_EQ(more(), 1U);
  flood("f", 1);
  pending("f", 100);
  rig_.loop.run_for(1800ms);
  EXPECT_EQ(more(), 1U) << "two seconds now";
  rig_.loop.run_for(1500ms);
  EXPECT_EQ(more(), 2U);
}

TEST_P(WorkerPoolCircuits, AFailureOfTheFunctionItselfDoesNotCount) {
  rig_.parts.executor.define(
      "f", 10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 1", 1); });
  for (int i = 0; i < 5; ++i) {
    flood("f", 4);
    pending("f", 0);
    rig_.loop.run_for(1s);
  }
  EXPECT_GE(rig_.parts.executor.executions("f"), 20);
  EXPECT_FALSE(rig_.parts.circuits.resting(*function()));
}

TEST_P(WorkerPoolCircuits, ARunThatIsCancelledInTheQueueSaysNothingOfWhatWorks) {
  get_into_trouble();
  rig_.loop.run_for(1500ms);
  Event event;
  event.object = rig_.parts.storage.put("in-f", "cancelled");
  event.id = object_event_id(*event.object);
  LiveRun queued;
  queued.run_id = make_run_id(function()->uid, event.id, 0);
  rig_.parts.runs.queued(queued);
  ASSERT_TRUE(rig_.parts.runs.cancel(queued.run_id));
  const auto report = std::make_shared<DeliveryReport>();
  broker().deliver("fn.f", std::make_unique<FakeDelivery>(rig_.loop, event, report));
  rig_.loop.run_for(100ms);
  EXPECT_EQ(report->verdicts, Verdicts{"ack"});
  EXPECT_TRUE(rig_.parts.circuits.resting(*function()));
}

TEST_P(WorkerPoolCircuits, OthersGoOnMeanwhile) {
  get_into_trouble();
  apply("g");
  const auto reports = flood("g", 2);
  rig_.loop.run_for(100ms);
  for (const auto& report : reports) EXPECT_EQ(report->verdicts, Verdicts{"ack"});
}

TEST_P(WorkerPoolTest, RemovingWhatWasNeverSubscribedIsNothing) {
  FunctionSpec spec;
  spec.name = "never";
  group_.spawn(pool_.function_removed(std::make_shared<const FunctionSpec>(spec)));
  rig_.loop.run_for(0s);
  EXPECT_EQ(group_.size(), 0U);
}

TEST_P(WorkerPoolTest, AStopWaitsForTheRunsThatAreOn) {
  apply("f", 10s);
  const auto reports = flood("f", 2);
  rig_.loop.run_for(1s);
  group_.spawn(stop(60s));
  rig_.loop.run_for(1s);
  EXPECT_FALSE(stopped_);
  rig_.loop.run_for(10s);
  EXPECT_TRUE(stopped_);
  for (const auto& report : reports) EXPECT_EQ(report->verdicts, Verdicts{"ack"});
  EXPECT_EQ(broker().subscriptions("fn.f"), 0);
}

TEST_P(WorkerPoolTest, AfterItsGraceAStopEndsTheRunsAndGivesThemBack) {
  apply("f", 600s);
  const auto reports = flood("f", 2);
  rig_.loop.run_for(1s);
  group_.spawn(stop(5s));
  rig_.loop.run_for(4999ms);
  EXPECT_TRUE(reports[0]->verdicts.empty());
  rig_.loop.run_for(1s);
  EXPECT_TRUE(stopped_);
  for (const auto& report : reports) EXPECT_EQ(report->verdicts, Verdicts{"nak shutdown"});
}

TEST_P(WorkerPoolTest, AStopEndsAlthoughTheBrokerTakesNoVerdict) {
  apply("f", 600s);
  const auto reports = flood("f", 2);
  reports[0]->verdict_takes = 24h;  // it is away
  rig_.loop.run_for(1s);
  group_.spawn(stop(5s));
  rig_.loop.run_for(5s + WorkerPool::kGiveBackMax - 1ms);
  EXPECT_FALSE(stopped_);
  EXPECT_EQ(reports[1]->verdicts, Verdicts{"nak shutdown"});
  rig_.loop.run_for(2ms);
  EXPECT_TRUE(stopped_);
  EXPECT_TRUE(reports[0]->dropped);
  EXPECT_EQ(rig_.parts.admission.free().cpu_millicores, 4000U);
}

TEST_P(WorkerPoolTest, AStopWithNothingToWaitForIsOverAtOnce) {
  apply("f");
  group_.spawn(stop(60s));
  rig_.loop.run_for(0s);
  EXPECT_TRUE(stopped_);
  broker().tell_backlog("fn.f");
  pending("f", 10);
  rig_.loop.run_for(10s);
  EXPECT_EQ(broker().granted("fn.f"), 0U);
}

TEST_P(WorkerPoolTest, AStopTakesNoMoreDeliveries) {
  apply("f", 10s);
  flood("f", 1);
  rig_.loop.run_for(1s);
  group_.spawn(stop(60s));
  const auto late = flood("f", 5);
  rig_.loop.run_for(60s);
  EXPECT_TRUE(stopped_);
  for (const auto& report : late) EXPECT_FALSE(report->begun);
}

// The delivery is the subscription's already and next() resumes in a later step: the stop comes before, between or
// after.
TEST_P(WorkerPoolTest, AStopWaitsForADeliveryThatIsJustHandedOut) {
  for (std::uint64_t steps = 0; steps < 6; ++steps) {
    // Once stopped a pool takes nothing more, so each try has its own world.
    EngineRig rig(GetParam() * 10 + steps);
    EngineParts& parts = rig.parts;
    DeliveryHandler handler(rig.loop, parts.admission, parts.invoker, parts.finish, parts.state, parts.runs, {},
                            parts.log);
    WorkerPool pool(rig.loop, parts.broker, parts.admission, handler, parts.log);
    parts.registry.observe(pool);
    parts.executor.define("f", 600s, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::succeeded); });
    parts.broker.lags["fn.f"].pending = 1;
    rig.apply(EngineParts::function("f", "in", "out"));
    rig.loop.run_for(0s);
    ASSERT_EQ(parts.broker.credit("fn.f"), 1U);
    Event event;
    event.object = parts.storage.put("in", "x");
    event.id = object_event_id(*event.object);
    const auto report = std::make_shared<DeliveryReport>();
    parts.broker.deliver("fn.f", std::make_unique<FakeDelivery>(rig.loop, event, report));
    (void)rig.loop.run_until_idle(steps);

    bool stopped = false;
    rig.group.spawn(stop(pool, 1s, stopped));
    for (int i = 0; i < 5000 && !stopped; ++i) rig.loop.run_for(1ms);
    EXPECT_TRUE(stopped);
    EXPECT_EQ(parts.runs.active_count(), 0U) << steps << ": it was being handled still";
    if (report->begun) EXPECT_EQ(report->verdicts, Verdicts{"nak shutdown"}) << steps;
  }
}

TEST_P(WorkerPoolTest, AStopEndsTheRestAfterAnErrorOfTheBroker) {
  apply("f");
  broker().break_subscription("fn.f", {.code = Errc::data_loss, .message = "segment 7 is corrupt"});
  broker().failing_lags = 1;
  broker().tell_backlog("fn.f");
  rig_.loop.run_for(1ms);
  group_.spawn(stop(60s));
  rig_.loop.run_for(0s);
  EXPECT_TRUE(stopped_);
  pending("f", 1);
  rig_.loop.run_for(60s);
  EXPECT_EQ(broker().granted("fn.f"), 0U);
}

TEST_P(WorkerPoolTest, AFunctionAppliedWhileThePoolStopsIsNotSubscribed) {
  std::optional<Result<void>> applied;
  const auto spec = EngineParts::function("f", "in-f", "out");
  group_.spawn(keep_value(pool_.function_applied(std::make_shared<const FunctionSpec>(spec)), applied));
  group_.spawn(stop(60s));
  rig_.loop.run_for(1s);
  EXPECT_TRUE(stopped_);
  ASSERT_TRUE(applied);
  ASSERT_FALSE(*applied);
  EXPECT_EQ(applied->error().code, Errc::unavailable);
  EXPECT_EQ(broker().subscriptions("fn.f"), 0);
}

// The broker and the admission keep their callbacks, and the loop what is posted, for longer than the pool lives.
TEST_P(WorkerPoolTest, APoolThatIsGoneIsNotCalled) {
  auto pool =
      std::make_unique<WorkerPool>(rig_.loop, rig_.parts.broker, rig_.parts.admission, handler_, rig_.parts.log);
  const auto spec = std::make_shared<const FunctionSpec>(EngineParts::function("f"));
  ASSERT_TRUE(rig_.wait(pool->function_applied(spec)));  // shares soon
  broker().tell_backlog("fn.f");
  pool.reset();
  {
    const auto slot = rig_.wait(rig_.parts.admission.acquire(spec, 1s, {}));
    ASSERT_TRUE(slot);
  }
  rig_.loop.run_for(1s);
  EXPECT_EQ(broker().subscriptions("fn.f"), 0);
}

TEST_P(WorkerPoolTest, ADrainHasNothingToWaitFor) {
  EXPECT_TRUE(rig_.wait(pool_.drain({})));
}

}  // namespace
}  // namespace millrace
