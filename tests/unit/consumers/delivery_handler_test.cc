// The verdict table: which end of an attempt is an ack, a nak with which delay and reason, or a dead letter.
#include "consumers/delivery_handler.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/consumers/handler_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class DeliveryHandlerTest : public HandlerRig {};
INSTANTIATE_TEST_SUITE_P(Seeds, DeliveryHandlerTest, testing::Range<std::uint64_t>(1, 4));

TEST_P(DeliveryHandlerTest, ASuccessIsPlacedPublishedAndAcked) {
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_TRUE(report_->begun);
  ASSERT_TRUE(row());
  EXPECT_EQ(row()->outcome, RunOutcome::succeeded);
  EXPECT_TRUE(row()->placed);
  EXPECT_TRUE(row()->published);
  EXPECT_EQ(rig_.parts.storage.visible("out"), Verdicts{"x"});
}

// As of a node whose clock was set back since.
TEST_P(DeliveryHandlerTest, AnOrderOnAWorkTopicStandsHoweverFarAheadItIs) {
  event_.order = Order("7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
  settle();
  ASSERT_TRUE(row());
  EXPECT_EQ(row()->order, event_.order);
}

TEST_P(DeliveryHandlerTest, AnOrderThatNoClockHasMadeRanksAsPublishedOnATopicOfUsers) {
  topic_ = "orders";
  event_.order = Order("7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
  settle();
  ASSERT_TRUE(row());
  EXPECT_EQ(row()->order, foreign_order(report_->published_at, event_.id));
}

TEST_P(DeliveryHandlerTest, AFailureThatIsNotTheLastIsNakedAsFailedWithTheBackoff) {
  define(10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 3", 3); });
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak failed"});
  EXPECT_GE(report_->delay, 0ms);
  EXPECT_LE(report_->delay, 1s);
  EXPECT_FALSE(row());
  ASSERT_TRUE(rig_.parts.runs.find(run_id()));
  EXPECT_EQ(rig_.parts.runs.find(run_id())->state, RunState::waiting_retry);
}

TEST_P(DeliveryHandlerTest, TheLastFailureIsCommittedAndDeadLettered) {
  define(10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 3", 3); });
  report_->counters.failures = 1;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_EQ(report_->buried_with.failures, 2U) << "this one, too";
  EXPECT_EQ(report_->reason, "exit code 3");
  ASSERT_TRUE(row());
  EXPECT_EQ(row()->outcome, RunOutcome::dead_lettered);
  EXPECT_EQ(row()->failures, 2U);
}

TEST_P(DeliveryHandlerTest, WithoutDeadLettersTheLastFailureIsOnlyRecorded) {
  define(10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 3", 3); });
  spec_.dead_letter = false;
  report_->counters.failures = 1;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(row()->outcome, RunOutcome::failed);
}

TEST_P(DeliveryHandlerTest, APermanentExitCodeIsTheLastFailureAtOnce) {
  define(10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 65", 65); });
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_EQ(row()->failures, 1U);
}

TEST_P(DeliveryHandlerTest, ALossIsNakedAsLostSoon) {
  define(10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::lost, "the launcher died"); });
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak lost"});
  EXPECT_EQ(report_->delay, 500ms);
  EXPECT_FALSE(row());
}

TEST_P(DeliveryHandlerTest, AsManyLossesAsAllowedAreTheEndBeforeTheNextAttempt) {
  spec_.max_losses = 3;
  report_->counters.losses = 2;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"}) << "one below the limit still runs";

  rig_.parts.storage.put("in", "a");
  event_.object->version = rig_.parts.storage.put("in", "a").version;
  event_.id = object_event_id(*event_.object);
  next_delivery();
  report_->counters.losses = 3;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_EQ(report_->reason, "its worker went away 3 times while it ran");
  EXPECT_EQ(row()->outcome, RunOutcome::dead_lettered);
  EXPECT_EQ(row()->losses, 3U);
  EXPECT_EQ(executions(), 1);
}

TEST_P(DeliveryHandlerTest, SuspectsRunOneAtATimeAndTheOthersGoBackWithoutABegin) {
  define(10s, [this](const ExecutionRequest& request, int) { return leave(request); });
  const auto suspect = [this](const std::string& key) {
    event_.object = rig_.parts.storage.put("in", key);
    event_.id = object_event_id(*event_.object);
    next_delivery();
    report_->counters.losses = 2;
    handle();
    return report_;
  };
  const auto first = suspect("a");
  rig_.loop.run_for(1s);
  const auto other = suspect("b");
  rig_.loop.run_for(1s);
  EXPECT_EQ(other->verdicts, Verdicts{"nak infrastructure"}) << "what it begins would count the losses of the first";
  EXPECT_GE(other->delay, 2s);
  next_delivery();
  handle();
  rig_.loop.run_for(1s);
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  EXPECT_FALSE(report_->begun) << "known as a suspect by now";
  rig_.loop.run_for(10s);
  EXPECT_EQ(first->verdicts, Verdicts{"ack"});

  next_delivery();
  handle();
  rig_.loop.run_for(20s);
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(executions(), 2);
  EXPECT_EQ(rig_.parts.executor.running_max(), 1);
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
}

TEST_P(DeliveryHandlerTest, OneLossIsNoSuspicion) {
  define(10s, [this](const ExecutionRequest& request, int) { return leave(request); });
  for (int i = 0; i < 3; ++i) {
    event_.object = rig_.parts.storage.put("in", "s" + std::to_string(i));
    event_.id = object_event_id(*event_.object);
    next_delivery();
    report_->counters.losses = 1;
    handle();
  }
  rig_.loop.run_for(100s);
  EXPECT_EQ(rig_.parts.executor.running_max(), 3);
}

TEST_P(DeliveryHandlerTest, NoSlotWithinHoldIsAnOverloadThatCountsNothing) {
  std::optional<Result<Admission::Slot>> slot;
  auto everything = EngineParts::function("big");
  everything.cpu_millicores = 4000;
  rig_.group.spawn(
      keep_value(rig_.parts.admission.acquire(std::make_shared<const FunctionSpec>(everything), 1s, {}), slot));
  ASSERT_TRUE(slot && *slot);
  handle();
  rig_.loop.run_for(4999ms);
  EXPECT_TRUE(report_->verdicts.empty()) << "it is held";
  rig_.loop.run_for(1ms);
  EXPECT_EQ(report_->verdicts, Verdicts{"nak overload"});
  EXPECT_EQ(report_->delay, 200ms);
  EXPECT_FALSE(report_->begun);
  EXPECT_FALSE(row());
}

TEST_P(DeliveryHandlerTest, ShutdownBeforeASlotGivesItBackAtOnce) {
  std::optional<Result<Admission::Slot>> slot;
  auto everything = EngineParts::function("big");
  everything.cpu_millicores = 4000;
  rig_.group.spawn(
      keep_value(rig_.parts.admission.acquire(std::make_shared<const FunctionSpec>(everything), 1s, {}), slot));
  handle();
  shutdown_.request_stop();
  rig_.loop.run_for(0s);
  EXPECT_EQ(report_->verdicts, Verdicts{"nak shutdown"});
  EXPECT_EQ(report_->delay, 0ms);
}

TEST_P(DeliveryHandlerTest, ShutdownEndsTheFunctionAndGivesTheEventBackWithoutATrace) {
  define(600s, [this](const ExecutionRequest& request, int) { return leave(request); });
  handle();
  rig_.loop.run_for(1s);
  shutdown_.request_stop();
  rig_.loop.run_for(1s);
  EXPECT_EQ(report_->verdicts, Verdicts{"nak shutdown"});
  EXPECT_EQ(report_->delay, 0ms);
  EXPECT_FALSE(row());
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
}

TEST_P(DeliveryHandlerTest, ALostLeaseEndsTheFunctionAndCommitsNothing) {
  define(600s, [this](const ExecutionRequest& request, int) { return leave(request); });
  report_->verdict_error = Error{.code = Errc::aborted, .message = "not yours"};
  handle();
  rig_.loop.run_for(1s);
  report_->lost.request_stop();
  rig_.loop.run_for(1s);
  EXPECT_EQ(report_->verdicts.size(), 1U) << "tried once, refused, and that is that";
  EXPECT_FALSE(row());
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
  EXPECT_EQ(rig_.parts.runs.active_count(), 0U);
}

TEST_P(DeliveryHandlerTest, ALeaseThatIsLostAsTheFunctionFailsStartsNoCommit) {
  define(10ms, [this](const ExecutionRequest&, int) {
    report_->lost.request_stop();
    return ended(AttemptOutcome::failed, "exit code 65", 65);  // for good, so it would be committed
  });
  handle();
  rig_.loop.run_for(1s);
  EXPECT_EQ(executions(), 1);
  EXPECT_FALSE(row());
}

TEST_P(DeliveryHandlerTest, ALeaseThatIsLostWhileOutputsAreSealedStartsNoCommit) {
  rig_.parts.storage.on_seal = [this] { report_->lost.request_stop(); };
  handle();
  rig_.loop.run_for(1s);
  EXPECT_EQ(executions(), 1);
  EXPECT_FALSE(row());
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
}

TEST_P(DeliveryHandlerTest, TheLeaseIsRenewedForAsLongAsTheFunctionRuns) {
  define(95s, [this](const ExecutionRequest& request, int) { return leave(request); });
  handle();
  rig_.loop.run_for(200s);
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_GE(report_->extended_at.size(), 8U);
  EXPECT_LE(report_->extended_at.size(), 10U);
  EXPECT_LE(report_->extended_at.back(), *report_->settled_at);
}

TEST_P(DeliveryHandlerTest, AStandingRowIsFinishedWithoutRunningAgain) {
  handle();
  rig_.parts.storage.fail_placing(1, kAway);
  rig_.loop.run_for(60s);
  ASSERT_EQ(report_->verdicts, Verdicts{"nak infrastructure"}) << "committed, not placed";
  EXPECT_GE(report_->delay, 500ms);
  next_delivery();
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(executions(), 1);
  EXPECT_TRUE(row()->placed);
}

TEST_P(DeliveryHandlerTest, AnAckThatGotLostIsRepeatedOnTheNextDelivery) {
  report_->verdict_error = kAway;
  settle();
  next_delivery();
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(executions(), 1);
  EXPECT_EQ(rig_.parts.storage.appearances("out", "x"), 1);
}

TEST_P(DeliveryHandlerTest, ADeadLetterThatGotLostIsRepeatedOnTheNextDelivery) {
  define(10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 65", 65); });
  report_->verdict_error = kAway;
  settle();
  next_delivery();
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_EQ(report_->reason, "exit code 65");
  EXPECT_EQ(executions(), 1);
}

TEST_P(DeliveryHandlerTest, ANameThatCannotBePlacedIsADeadLetterNamingIt) {
  rig_.parts.storage.fail_placing(1, {.code = Errc::failed_precondition, .message = "out/x is a directory"});
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
  EXPECT_EQ(report_->reason, "cannot_place: out/x is a directory");
  EXPECT_EQ(row()->outcome, RunOutcome::succeeded) << "the row stays";
}

TEST_P(DeliveryHandlerTest, ARedeliveryOfWhatRunsHereWaitsOutTheLease) {
  define(100s, [this](const ExecutionRequest& request, int) { return leave(request); });
  handle();
  rig_.loop.run_for(1s);
  const auto first = report_;
  next_delivery();
  handle();
  rig_.loop.run_for(1s);
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  EXPECT_EQ(report_->delay, report_->lease);
  EXPECT_FALSE(report_->begun);
  rig_.loop.run_for(200s);
  EXPECT_EQ(first->verdicts, Verdicts{"ack"});
  EXPECT_EQ(executions(), 1);
}

TEST_P(DeliveryHandlerTest, ARunThatWasCancelledWhileQueuedNeverStarts) {
  LiveRun queued;
  queued.run_id = run_id();
  rig_.parts.runs.queued(queued);
  ASSERT_TRUE(rig_.parts.runs.cancel(run_id()));
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(row()->outcome, RunOutcome::cancelled);
  EXPECT_EQ(executions(), 0);
  EXPECT_FALSE(report_->begun);
}

TEST_P(DeliveryHandlerTest, ARunThatIsCancelledWhileItRunsIsAckedAsSuch) {
  define(600s, [this](const ExecutionRequest& request, int) { return leave(request); });
  handle();
  rig_.loop.run_for(1s);
  ASSERT_TRUE(rig_.parts.runs.cancel(run_id()));
  rig_.loop.run_for(1s);
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(row()->outcome, RunOutcome::cancelled);
}

}  // namespace
}  // namespace millrace
