#include "engine/run_table.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace millrace {
namespace {

using namespace std::chrono_literals;

LiveRun run(const std::string& id, const std::string& function = "f") {
  return {.run_id = RunId(id),
          .event_id = EventId("e-" + id),
          .function = function,
          .topic = "fn." + function,
          .key = "k-" + id};
}

LiveRun run_of_topic(const std::string& id, const std::string& topic, const std::string& function = "f") {
  LiveRun made = run(id, function);
  made.topic = topic;
  return made;
}

std::vector<std::string> ids(const std::vector<LiveRun>& runs) {
  std::vector<std::string> found;
  for (const auto& one : runs) found.push_back(one.run_id.str());
  return found;
}

using Ids = std::vector<std::string>;

TEST(RunTable, AQueuedRunIsKnownUntilItsWorkBeginsAndEnds) {
  RunTable table;
  table.queued(run("a"));
  ASSERT_TRUE(table.find(RunId("a")));
  EXPECT_EQ(table.find(RunId("a"))->state, RunState::queued);
  EXPECT_EQ(table.find(RunId("a"))->key, "k-a");
  EXPECT_FALSE(table.active(RunId("a")));
  {
    const RunTable::Active active(table, run("a"));
    EXPECT_TRUE(table.active(RunId("a")));
    EXPECT_EQ(table.active_count(), 1U);
    EXPECT_EQ(ids(table.list("", 10)), (Ids{"a"}));
  }
  EXPECT_FALSE(table.active(RunId("a")));
  EXPECT_EQ(table.active_count(), 0U);
  EXPECT_FALSE(table.find(RunId("a")));
  EXPECT_TRUE(table.list("", 10).empty());
}

TEST(RunTable, SaysWhetherAQueuedRunIsNews) {
  RunTable table;
  EXPECT_TRUE(table.queued(run("a")));
  EXPECT_FALSE(table.queued(run("a")));
  const RunTable::Active active(table, run("b"));
  EXPECT_FALSE(table.queued(run("b")));
}

TEST(RunTable, ARunThatWasNotPublishedIsForgottenUnlessItHasRunMeanwhile) {
  RunTable table;
  table.queued(run("a"));
  table.not_queued(RunId("a"));
  EXPECT_FALSE(table.find(RunId("a")));
  table.not_queued(RunId("a"));

  {
    RunTable::Active active(table, run("b"));
    table.not_queued(RunId("b"));
    EXPECT_TRUE(table.find(RunId("b"))) << "it is in work";
    active.waits_for_retry({});
  }
  table.not_queued(RunId("b"));
  EXPECT_TRUE(table.find(RunId("b"))) << "its next attempt is to come";
}

TEST(RunTable, AnActiveRunNeedsNotBeQueuedBefore) {
  RunTable table;
  const RunTable::Active active(table, run("a"));
  EXPECT_TRUE(table.find(RunId("a")));
}

TEST(RunTable, StateAndCountersOfAnActiveRunAreSeenAtOnce) {
  RunTable table;
  RunTable::Active active(table, run("a"));
  const WallTime now(42s);
  active.state(RunState::running, now);
  active.counters(2, 3);
  const auto found = table.find(RunId("a"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->state, RunState::running);
  EXPECT_EQ(found->since, now);
  EXPECT_EQ(found->failures, 2U);
  EXPECT_EQ(found->losses, 3U);
}

TEST(RunTable, AQueuedNoteAboutARunInWorkIsIgnored) {
  RunTable table;
  {
    RunTable::Active active(table, run("a"));
    active.state(RunState::running, {});
    table.queued(run("a"));  // a repeated publish
    EXPECT_EQ(ids(table.list("", 10)), (Ids{"a"}));
    EXPECT_EQ(table.find(RunId("a"))->state, RunState::running);
  }
  EXPECT_FALSE(table.find(RunId("a")));
}

TEST(RunTable, QueuedTwiceIsOneRun) {
  RunTable table;
  table.queued(run("a", "first"));
  table.queued(run("a", "second"));
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"a"}));
  EXPECT_EQ(table.find(RunId("a"))->function, "first");
}

TEST(RunTable, ARunThatWaitsForItsRetryIsStillKnown) {
  RunTable table;
  const WallTime now(42s);
  {
    RunTable::Active active(table, run("a"));
    active.counters(1, 0);
    active.waits_for_retry(now);
  }
  EXPECT_FALSE(table.active(RunId("a")));
  const auto found = table.find(RunId("a"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->state, RunState::waiting_retry);
  EXPECT_EQ(found->since, now);
  EXPECT_EQ(found->failures, 1U);
}

TEST(RunTable, CancellingAnActiveRunRequestsItsStop) {
  RunTable table;
  RunTable::Active active(table, run("a"));
  EXPECT_FALSE(active.cancel_requested().stop_requested());
  EXPECT_TRUE(table.cancel(RunId("a")));
  EXPECT_TRUE(active.cancel_requested().stop_requested());
  EXPECT_TRUE(table.cancel(RunId("a"))) << "a second time is no error";
}

TEST(RunTable, CancellingAQueuedRunIsRememberedForItsTurnAndTakenOnce) {
  RunTable table;
  table.queued(run("a"));
  table.queued(run("b"));
  EXPECT_TRUE(table.cancel(RunId("a")));
  EXPECT_FALSE(table.take_cancelled(RunId("b")));
  EXPECT_TRUE(table.take_cancelled(RunId("a")));
  EXPECT_FALSE(table.take_cancelled(RunId("a")));
}

TEST(RunTable, ARunThatWaitsForItsRetryCanBeCancelled) {
  RunTable table;
  {
    RunTable::Active active(table, run("a"));
    active.waits_for_retry({});
  }
  EXPECT_TRUE(table.cancel(RunId("a")));
  EXPECT_TRUE(table.take_cancelled(RunId("a")));
}

TEST(RunTable, ACancelThatCameTooLateForTheAttemptIsKeptForTheNext) {
  RunTable table;
  {
    RunTable::Active active(table, run("a"));
    ASSERT_TRUE(table.cancel(RunId("a")));
    active.waits_for_retry({});
  }
  EXPECT_TRUE(table.take_cancelled(RunId("a")));
}

TEST(RunTable, TheNextAttemptMayBeginBeforeTheObjectOfTheLastIsGone) {
  RunTable table;
  auto last = std::make_unique<RunTable::Active>(table, run("a"));
  last->waits_for_retry({});
  EXPECT_FALSE(table.active(RunId("a")));
  const RunTable::Active next(table, run("a"));
  last.reset();
  EXPECT_TRUE(table.active(RunId("a")));
}

TEST(RunTable, AnUnknownRunCannotBeCancelled) {
  RunTable table;
  EXPECT_FALSE(table.cancel(RunId("a")));
  EXPECT_FALSE(table.take_cancelled(RunId("a")));
  {
    const RunTable::Active over(table, run("a"));
  }
  EXPECT_FALSE(table.cancel(RunId("a")));
}

TEST(RunTable, BeyondItsBoundTheOldestQueuedRunIsForgotten) {
  RunTable table(2);
  table.queued(run("a"));
  table.queued(run("b"));
  EXPECT_TRUE(table.find(RunId("a")));
  table.queued(run("c"));
  EXPECT_FALSE(table.find(RunId("a")));
  EXPECT_FALSE(table.cancel(RunId("a")));
  EXPECT_TRUE(table.find(RunId("b")));
  EXPECT_TRUE(table.find(RunId("c")));
}

TEST(RunTable, ARunThatWaitsToBeCancelledIsNotForgottenBeyondTheBound) {
  RunTable table(2);
  table.queued(run("a"));
  ASSERT_TRUE(table.cancel(RunId("a")));
  for (const auto* const id : {"b", "c", "d"}) table.queued(run(id));
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"d", "c", "a"}));
  EXPECT_TRUE(table.cancel(RunId("a"))) << "a second time is no error";
  EXPECT_TRUE(table.take_cancelled(RunId("a")));
  table.queued(run("e"));
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"e", "d"})) << "one as any other again, and the oldest";
}

TEST(RunTable, NoMoreRunsThanItsBoundWaitToBeCancelled) {
  RunTable table(1);
  table.queued(run("a"));
  ASSERT_TRUE(table.cancel(RunId("a")));
  table.queued(run("b"));
  EXPECT_FALSE(table.cancel(RunId("b"))) << "it would be forgotten, so nothing is promised";
  table.forget(RunId("a"));
  EXPECT_TRUE(table.cancel(RunId("b")));
  EXPECT_FALSE(table.take_cancelled(RunId("a")));
  const RunTable::Active active(table, run("b"));
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"b"}));
}

TEST(RunTable, ForgettingWhatWaitsLeavesOtherFunctionsAndWhatIsInWork) {
  RunTable table;
  table.queued(run("a", "f"));
  table.queued(run("b", "g"));
  table.queued(run("c", "f"));
  ASSERT_TRUE(table.cancel(RunId("c")));
  RunTable::Active active(table, run("d", "f"));
  table.forget_waiting("fn.f", "f");
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"d", "b"}));
  EXPECT_FALSE(table.take_cancelled(RunId("c")));
  active.waits_for_retry({});
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"b"})) << "nothing is there to try again";
}

TEST(RunTable, OfAFunctionThatReadsSeveralTopicsOnlyThoseOfOneAreForgotten) {
  RunTable table;
  table.queued(run("a", "f"));
  for (const auto* const id : {"b", "c"}) {
    RunTable::Active active(table, run_of_topic(id, "orders"));
    active.waits_for_retry({});
  }
  ASSERT_TRUE(table.cancel(RunId("c")));
  RunTable::Active other(table, run_of_topic("d", "returns"));
  RunTable::Active same(table, run_of_topic("e", "orders"));
  table.forget_waiting("orders", "f");
  EXPECT_FALSE(table.take_cancelled(RunId("c")));
  other.waits_for_retry({});
  same.waits_for_retry({});
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"d", "a"}));
}

TEST(RunTable, OfATopicThatIsGoneTheRunsOfAllFunctionsAreForgotten) {
  RunTable table;
  table.queued(run_of_topic("a", "orders", "f"));
  table.queued(run_of_topic("b", "orders", "g"));
  table.queued(run_of_topic("c", "returns", "g"));
  table.forget_waiting("orders", "");
  EXPECT_EQ(ids(table.list("", 10)), Ids{"c"});
}

TEST(RunTable, TheBoundCountsWhatWaitsAndNotWhatIsOver) {
  RunTable table(2);
  table.queued(run("waits"));
  for (int i = 0; i < 5; ++i) {
    table.queued(run("r" + std::to_string(i)));
    const RunTable::Active over(table, run("r" + std::to_string(i)));
  }
  EXPECT_TRUE(table.find(RunId("waits"))) << "only one run waits, the bound is two";
}

TEST(RunTable, ARetryingRunIsListedOnceAndAsTheYoungest) {
  RunTable table;
  table.queued(run("a"));
  table.queued(run("b"));
  for (int attempt = 0; attempt < 3; ++attempt) {
    table.queued(run("a"));
    RunTable::Active active(table, run("a"));
    active.waits_for_retry({});
  }
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"a", "b"}));
}

TEST(RunTable, BeyondTheBoundARunThatWaitsForItsRetryIsForgottenInItsTurn) {
  RunTable table(2);
  {
    RunTable::Active active(table, run("a"));
    active.waits_for_retry({});
  }
  table.queued(run("b"));
  EXPECT_TRUE(table.find(RunId("a")));
  table.queued(run("c"));
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"c", "b"}));
  EXPECT_FALSE(table.find(RunId("a")));
}

TEST(RunTable, ABoundOfNothingRemembersNoQueuedRun) {
  RunTable table(0);
  table.queued(run("a"));
  EXPECT_FALSE(table.find(RunId("a")));
  const RunTable::Active active(table, run("a"));
  EXPECT_TRUE(table.find(RunId("a"))) << "what is in work is always known";
}

TEST(RunTable, TheListHoldsActiveRunsFirstThenTheYoungestQueued) {
  RunTable table;
  table.queued(run("a"));
  table.queued(run("b"));
  table.queued(run("c"));
  const RunTable::Active active(table, run("b"));
  EXPECT_EQ(ids(table.list("", 10)), (Ids{"b", "c", "a"}));
  EXPECT_EQ(ids(table.list("", 2)), (Ids{"b", "c"}));
  EXPECT_EQ(ids(table.list("", 1)), (Ids{"b"}));
  EXPECT_TRUE(table.list("", 0).empty());
}

TEST(RunTable, TheListCanBeOfOneFunction) {
  RunTable table;
  table.queued(run("a", "f"));
  table.queued(run("b", "g"));
  const RunTable::Active active(table, run("c", "g"));
  EXPECT_EQ(ids(table.list("g", 10)), (Ids{"c", "b"}));
  EXPECT_EQ(ids(table.list("g", 1)), (Ids{"c"}));
  EXPECT_TRUE(table.list("h", 10).empty());
}

}  // namespace
}  // namespace millrace
