// The verdict table, continued: trouble of our own, ends without an attempt, and what a redrive makes of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/consumers/handler_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class DeliveryTrouble : public HandlerRig {};
INSTANTIATE_TEST_SUITE_P(Seeds, DeliveryTrouble, testing::Range<std::uint64_t>(1, 4));

TEST_P(DeliveryTrouble, AnInputThatIsGoneIsSkippedAndAcked) {
  rig_.parts.storage.take_away("in", "a");
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(row()->outcome, RunOutcome::skipped);
  EXPECT_EQ(executions(), 0);
}

TEST_P(DeliveryTrouble, APrivateInputThatIsGoneIsADeadLetterAndNeverSkipped) {
  event_.object->private_path = "in/.millrace/gone";
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_NE(report_->reason.find("in/.millrace/gone"), std::string::npos) << report_->reason;
  EXPECT_EQ(row()->outcome, RunOutcome::dead_lettered);
}

TEST_P(DeliveryTrouble, TheHopLimitIsADeadLetterBeforeAnythingBegins) {
  event_.hops = kHopsMax + 1;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_NE(report_->reason.find("hop limit"), std::string::npos);
  EXPECT_FALSE(report_->begun);
  EXPECT_EQ(executions(), 0);
}

TEST_P(DeliveryTrouble, TheHopLimitItselfIsStillAllowed) {
  event_.hops = kHopsMax;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
}

TEST_P(DeliveryTrouble, RecursionOnPurposeHasItsOwnDepth) {
  spec_.recursion_depth_max = 3;
  event_.hops = 3;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  event_.object = rig_.parts.storage.put("in", "b");
  event_.id = object_event_id(*event_.object);
  event_.hops = 4;
  next_delivery();
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
}

TEST_P(DeliveryTrouble, AStateStoreThatIsAwayIsInfrastructureWhereverItIsAsked) {
  int nth = 0;
  for (const auto call : {StateCall::begin_attempt, StateCall::commit, StateCall::mark}) {
    SCOPED_TRACE(static_cast<int>(call));
    event_.object = rig_.parts.storage.put("in", "k" + std::to_string(nth++));
    event_.id = object_event_id(*event_.object);
    next_delivery();
    rig_.parts.state.fail_next(call, kAway);
    settle();
    EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
    EXPECT_GE(report_->delay, 500ms);
    EXPECT_LE(report_->delay, 30'500ms);
    next_delivery();
    settle();
    EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  }
}

TEST_P(DeliveryTrouble, AnEndOfAFailureThatCannotBeWrittenCountsNothing) {
  define(10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 3", 3); });
  rig_.parts.state.fail_next(StateCall::end_attempt, kAway);
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
}

TEST_P(DeliveryTrouble, AGivingUpThatCannotBeCommittedIsTriedAgain) {
  event_.hops = kHopsMax + 1;
  rig_.parts.state.fail_next(StateCall::commit, kAway);
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  next_delivery();
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
}

TEST_P(DeliveryTrouble, ABeginThatFailsRunsNothingAndHonoursTheOwnersLease) {
  report_->begin_error = Error{.code = Errc::unavailable, .message = "its owner lives", .retry_after = 17s};
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  EXPECT_GE(report_->delay, 17s);
  EXPECT_LE(report_->delay, 17'000ms * 5 / 4);
  EXPECT_EQ(executions(), 0);
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
  const auto attempts = rig_.wait(rig_.parts.state.runs().attempts(run_id()));
  ASSERT_TRUE(attempts);
  EXPECT_TRUE(attempts->empty());
}

// The hint is the least: a launcher that is away says "in a second" for as long as it is.
TEST_P(DeliveryTrouble, AHintOfOurOwnTroubleIsNoWayAroundTheBackoff) {
  define(0ms, [](const ExecutionRequest&, int) -> Result<Execution> {
    return fail({.code = Errc::unavailable, .message = "no launcher", .retry_after = 1s});
  });
  auto longest = 0ms;
  for (int time = 0; time < 40; ++time) {
    next_delivery();
    settle();
    ASSERT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
    EXPECT_GE(report_->delay, 1s);
    longest = std::max(longest, report_->delay);
  }
  EXPECT_GT(longest, 15s);
}

TEST_P(DeliveryTrouble, AnAbortedCallThatNobodyStoppedIsInfrastructure) {
  define(0ms,
         [](const ExecutionRequest&, int) -> Result<Execution> { return fail(Errc::aborted, "changed meanwhile"); });
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  EXPECT_GE(report_->delay, 500ms);
}

TEST_P(DeliveryTrouble, AnInputThatIsGoneIsSkippedAlsoWhereItsOutputsHaveNoRoom) {
  rig_.parts.storage.take_away("in", "a");
  rig_.parts.storage.fail_next(StorageCall::make_attempt, 1, {.code = Errc::not_found, .message = "no such bucket"});
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  ASSERT_TRUE(row());
  EXPECT_EQ(row()->outcome, RunOutcome::skipped);
}

TEST_P(DeliveryTrouble, NothingRunsBeforeTheBrokerHasRecordedThatItBegins) {
  report_->begin_takes = 10s;
  handle();
  rig_.loop.run_for(9s);
  EXPECT_EQ(rig_.parts.state.calls(StateCall::begin_attempt), 0);
  EXPECT_EQ(executions(), 0);
  rig_.loop.run_for(2s);
  EXPECT_EQ(executions(), 1);
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
}

// With full jitter one delay says little: of many events, each in trouble for the nth time, it is the longest.
TEST_P(DeliveryTrouble, TheWaitGrowsWithEveryTroubleInARowAndBeginsAnewAfterIt) {
  bool away = true;
  define(0ms, [this, &away](const ExecutionRequest& request, int) -> Result<Execution> {
    if (away) return fail(kAway);
    return leave(request);
  });
  const auto longest_after = [this](int troubles, int& events) {
    auto longest = 0ms;
    for (int event = 0; event < 40; ++event) {
      event_.object = rig_.parts.storage.put("in", "k" + std::to_string(events++));
      event_.id = object_event_id(*event_.object);
      for (int time = 0; time < troubles; ++time) {
        next_delivery();
        settle();
      }
      longest = std::max(longest, report_->delay);
    }
    return longest;
  };
  int events = 0;
  EXPECT_LE(longest_after(1, events), 1s);
  EXPECT_GT(longest_after(8, events), 15s) << "the cap is half a minute";

  away = false;
  next_delivery();
  settle();
  ASSERT_EQ(report_->verdicts, Verdicts{"ack"});
  event_.generation = 0;
  rig_.parts.state.fail_next(StateCall::begin_attempt, kAway);
  next_delivery();
  settle();
  EXPECT_LE(report_->delay, 1s) << "a trouble that is over is forgotten";
}

TEST_P(DeliveryTrouble, AnExecutorThatIsAwayIsInfrastructureAndCountsNoFailure) {
  define(10ms, [](const ExecutionRequest&, int) -> Result<Execution> { return fail(kAway); });
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  EXPECT_FALSE(row());
  EXPECT_EQ(rig_.parts.runs.find(run_id())->state, RunState::waiting_retry);
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
}

TEST_P(DeliveryTrouble, WhatCanNeverStartIsGivenUpAtOnce) {
  define(10ms, [](const ExecutionRequest&, int) -> Result<Execution> {
    return fail(Errc::invalid_argument, "no such interpreter");
  });
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_EQ(report_->reason, "no such interpreter");
}

TEST_P(DeliveryTrouble, WhatCanNeverStartIsOnlyRecordedWithoutDeadLetters) {
  spec_.dead_letter = false;
  define(10ms, [](const ExecutionRequest&, int) -> Result<Execution> {
    return fail(Errc::invalid_argument, "no such interpreter");
  });
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(row()->outcome, RunOutcome::failed);
  EXPECT_EQ(row()->reason, "no such interpreter");
}

TEST_P(DeliveryTrouble, InfrastructureTroubleEndsAfterItsTime) {
  spec_.infrastructure_retry_for = 60s;
  define(0ms, [](const ExecutionRequest&, int) -> Result<Execution> { return fail(kAway); });
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  next_delivery();
  rig_.loop.run_for(61s);
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_EQ(report_->reason, "away");
}

TEST_P(DeliveryTrouble, ARedriveRunsADeadLetterUnderTheNextGeneration) {
  define(10ms, [this](const ExecutionRequest& request, int nth) -> Result<Execution> {
    if (nth <= 2) return ended(AttemptOutcome::failed, "exit code 65", 65);
    return leave(request);
  });
  settle();
  for (const auto* verdict : {"term", "ack"}) {
    next_delivery();
    ++report_->redrives;
    settle();
    EXPECT_EQ(report_->verdicts, Verdicts{verdict});
  }
  EXPECT_EQ(row(0)->outcome, RunOutcome::dead_lettered);
  EXPECT_EQ(row(1)->outcome, RunOutcome::dead_lettered);
  EXPECT_EQ(row(2)->outcome, RunOutcome::succeeded);
  EXPECT_EQ(row(2)->generation, 2U);
  EXPECT_FALSE(row(3));
}

TEST_P(DeliveryTrouble, ARedriveThatCannotReadTheStandingRowIsInfrastructure) {
  report_->redrives = 1;
  rig_.parts.state.fail_next(StateCall::get_run, kAway);
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  EXPECT_EQ(executions(), 0);
}

TEST_P(DeliveryTrouble, ARedriveOfASuccessThatCouldNotBePlacedOnlyPlaces) {
  rig_.parts.storage.fail_placing(1, {.code = Errc::failed_precondition, .message = "a directory"});
  settle();
  ASSERT_EQ(report_->verdicts, Verdicts{"term"});
  next_delivery();
  report_->redrives = 1;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(executions(), 1);
  EXPECT_FALSE(row(1));
}

TEST_P(DeliveryTrouble, ARaceThatAnotherAttemptWonIsSettledByTheRowThatStands) {
  define(10ms, [this](const ExecutionRequest& request, int) -> Result<Execution> {
    RunRecord theirs;
    theirs.run_id = request.run_id;
    theirs.event_id = event_.id;
    theirs.function = "f";
    theirs.outcome = RunOutcome::dead_lettered;
    theirs.reason = "theirs";
    theirs.token = AttemptToken("another");
    theirs.placed = theirs.published = true;
    rig_.group.spawn(keep_value(rig_.parts.state.runs().commit(theirs), committed_));
    return leave(request);
  });
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_EQ(report_->reason, "theirs");
  EXPECT_TRUE(rig_.parts.storage.visible("out").empty());
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
}

}  // namespace
}  // namespace millrace
