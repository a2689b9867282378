#include "engine/retention.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

const Error kAway{.code = Errc::unavailable, .message = "away"};
constexpr auto kDay = 24h;

class RetentionTest : public testing::Test {
 public:
  ~RetentionTest() override {
    stop_.request_stop();
    rig_.loop.run_for(0s);
  }

 protected:
  RetentionTest() { rig_.apply(NodeEngine::function("f", "in", "out")); }

  // A run that is over, with the directory of its private copies.
  RunRecord over(const std::string& number, const std::string& function = "f") {
    RunRecord record;
    record.run_id = RunId(identity_hash({"run", number}));
    record.event_id = EventId(identity_hash({"event", number}));
    record.function = function;
    record.token = AttemptToken(identity_hash({"token", number}));
    record.committed_at = rig_.loop.wall_now();
    record.outputs.resize(1);
    record.placed = record.published = true;
    begin(record.run_id, record.token);
    commit(record);
    return record;
  }
  void begin(const RunId& run_id, const AttemptToken& token) {
    Attempt attempt;
    attempt.run_id = run_id;
    attempt.token = token;
    attempt.bucket = "out";
    attempt.node = "node-1";
    attempt.started_at = rig_.loop.wall_now();
    if (!rig_.wait(rig_.parts.state.runs().begin_attempt(attempt))) throw std::runtime_error("begin");
    (void)rig_.wait(rig_.parts.storage.make_attempt({.bucket = "out", .run_id = run_id, .token = token}));
  }
  void commit(const RunRecord& record) {
    if (!rig_.wait(rig_.parts.state.runs().commit(record))) throw std::runtime_error("commit");
  }

  void start(RetentionOptions options = {}) {
    retention_ = std::make_unique<Retention>(rig_.loop, rig_.parts.state, rig_.parts.storage, rig_.parts.broker,
                                             rig_.parts.runs, options, rig_.parts.log, rig_.parts.metrics);
    rig_.group.spawn(retention_->run(stop_.get_token()));
    rig_.loop.run_for(0s);
  }
  bool there(const RunRecord& record) { return rig_.row(record.run_id).has_value(); }
  [[nodiscard]] std::size_t directories() const { return rig_.parts.storage.attempts(); }
  bool metric(const std::string& line) { return rig_.parts.metrics.render().find(line + "\n") != std::string::npos; }

  // As the broker counts it: an event that was published now and is worked on.
  void let_one_wait(const std::string& function = "f") { waiting_[work_topic(function)] = rig_.loop.wall_now(); }
  void nobody_waits() {
    for (const auto& [topic, since] : waiting_) rig_.parts.broker.lags[topic] = {};
    waiting_.clear();
  }
  void run_for(std::chrono::minutes span) {
    constexpr auto kStep = 5min;  // of a pass
    for (auto done = 0min; done < span; done += kStep) {
      for (const auto& [topic, since] : waiting_) {
        Lag& lag = rig_.parts.broker.lags[topic];
        lag.in_flight = 1;
        lag.oldest = std::chrono::duration_cast<std::chrono::milliseconds>(rig_.loop.wall_now() - since);
      }
      rig_.loop.run_for(kStep);
    }
  }
  void bury(const std::string& topic, const EventId& event_id, const RunId& cause = {}) {
    DeadLetter letter;
    letter.id = "letter " + event_id.str();
    letter.event.id = event_id;
    letter.event.cause = cause;
    rig_.parts.broker.dead[topic].push_back(letter);
    rig_.parts.broker.lags[topic].dead = rig_.parts.broker.dead[topic].size();
  }

  EngineRig rig_;
  std::unique_ptr<Retention> retention_;

 private:
  std::map<std::string, WallTime> waiting_;
  std::stop_source stop_;
};

TEST_F(RetentionTest, ARecordGoesWithItsAttemptsAndItsPrivateCopiesWhenItIsOldEnough) {
  const RunRecord old = over("old");
  rig_.loop.run_for(1h);
  const RunRecord young = over("young");
  start({.keep = 10 * kDay});
  run_for(10 * kDay - 1h);
  EXPECT_TRUE(there(old));
  EXPECT_EQ(directories(), 2U);
  run_for(1h);
  EXPECT_FALSE(there(old));
  EXPECT_TRUE(there(young));
  EXPECT_EQ(directories(), 1U);
  EXPECT_TRUE(rig_.wait(rig_.parts.state.runs().attempts(old.run_id))->empty());
  EXPECT_TRUE(metric("millrace_retention_removed_total{what=\"run\"} 1"));
}

TEST_F(RetentionTest, OfTooManyTheOldestGoButNoneYoungerThanProducersMayRepeat) {
  std::vector<RunRecord> records;
  for (int i = 0; i < 5; ++i) {
    records.push_back(over(std::to_string(i)));
    rig_.loop.run_for(1ms);
  }
  start({.runs_max = 2});
  rig_.loop.run_for(kRunsKeptMin - 1s);
  EXPECT_EQ(directories(), 5U);
  rig_.loop.run_for(10min);
  for (std::size_t i = 0; i < 5; ++i)
    EXPECT_EQ(there(records[i]), i >= 2) << i << ", the last two and the one they follow";
}

TEST_F(RetentionTest, LessThanTheLeastTimeToKeepIsNotTaken) {
  const RunRecord record = over("r");
  start({.keep = 1ms});
  rig_.loop.run_for(kRunsKeptMin - 1min);
  EXPECT_TRUE(there(record));
  rig_.loop.run_for(6min);
  EXPECT_FALSE(there(record));
}

TEST_F(RetentionTest, AnUnfinishedRunStaysWhateverItsAge) {
  const RunRecord record = rig_.committed("f", "out", {"a"});
  start();
  run_for(90 * kDay);
  EXPECT_TRUE(there(record));
  EXPECT_EQ(directories(), 1U);
}

TEST_F(RetentionTest, NothingGoesThatWasOverAfterAnEventWasPublishedThatStillWaits) {
  const RunRecord before = over("before");
  rig_.loop.run_for(1h);
  let_one_wait();
  const RunRecord after = over("after");
  start();
  run_for(60 * kDay);
  EXPECT_FALSE(there(before)) << "what waits has nothing to do with it";
  EXPECT_TRUE(there(after)) << "its own event, or one that it started, may come again";
  EXPECT_EQ(directories(), 1U);
  nobody_waits();
  run_for(1h);
  EXPECT_FALSE(there(after));
  EXPECT_EQ(directories(), 0U);
}

TEST_F(RetentionTest, AnEventThatWaitsForAnyFunctionCounts) {
  rig_.apply(NodeEngine::function("second", "out", "end"));
  let_one_wait("second");
  const RunRecord record = over("r");
  start();
  run_for(60 * kDay);
  EXPECT_TRUE(there(record));
}

TEST_F(RetentionTest, ADeadLetterHoldsTheRunsOfItsEventAndTheRunThatPublishedIt) {
  const RunRecord own = over("own");
  const RunRecord cause = over("cause");
  const RunRecord other = over("other");
  bury("fn.f", own.event_id, cause.run_id);
  start();
  run_for(60 * kDay);
  EXPECT_TRUE(there(own));
  EXPECT_TRUE(there(cause));
  EXPECT_FALSE(there(other));
  EXPECT_EQ(directories(), 2U);
  EXPECT_TRUE(metric("millrace_retention_held_runs 2"));
  rig_.parts.broker.dead.clear();
  rig_.parts.broker.lags["fn.f"].dead = 0;
  run_for(1h);
  EXPECT_FALSE(there(own));
  EXPECT_FALSE(there(cause));
}

TEST_F(RetentionTest, MoreThanABatchIsRemovedAndWhatIsHeldKeepsNoOtherBack) {
  std::set<std::string> held;
  for (int i = 0; i < 12; ++i) {
    const RunRecord record = over(std::to_string(i));
    if (i % 4 != 3) bury("fn.f", record.event_id);
    if (i % 4 != 3) held.insert(record.run_id.str());
    rig_.loop.run_for(1ms);
  }
  start({.batch = 2});
  run_for(31 * kDay);
  std::set<std::string> left;
  for (const auto& row : *rig_.wait(rig_.parts.state.runs().list(RunFilter()))) left.insert(row.run_id.str());
  EXPECT_EQ(left, held);
}

TEST_F(RetentionTest, WhatIsWorkedOnStays) {
  const RunRecord record = over("r");
  LiveRun live;
  live.run_id = record.run_id;
  auto active = std::make_unique<RunTable::Active>(rig_.parts.runs, live);
  start();
  run_for(60 * kDay);
  EXPECT_TRUE(there(record));
  EXPECT_EQ(directories(), 1U);
  active.reset();
  run_for(1h);
  EXPECT_FALSE(there(record));
}

TEST_F(RetentionTest, ADirectoryThatCannotBeRemovedKeepsItsRecord) {
  const RunRecord record = over("r");
  run_for(31 * kDay);
  rig_.parts.storage.fail_next(StorageCall::remove_attempt, 1, kAway);
  start();
  EXPECT_TRUE(there(record));
  run_for(1h);
  EXPECT_FALSE(there(record));
  EXPECT_EQ(directories(), 0U);
}

TEST_F(RetentionTest, ACrashBetweenDirectoryAndRowLeavesARowThatGoesNextTime) {
  const RunRecord record = over("r");
  run_for(31 * kDay);
  rig_.parts.state.fail_next(StateCall::remove_runs, kAway);
  start();
  EXPECT_TRUE(there(record));
  EXPECT_EQ(directories(), 0U);
  run_for(1h);
  EXPECT_FALSE(there(record));
}

TEST_F(RetentionTest, WithoutAnAnswerFromTheBrokerOrTheStoreNothingGoes) {
  const RunRecord record = over("r");
  run_for(31 * kDay);
  rig_.parts.broker.failing_lags = 1;
  start({.every = 1h});
  EXPECT_TRUE(there(record));
  rig_.parts.state.fail_next(StateCall::removable, kAway);
  rig_.loop.run_for(1h);
  EXPECT_TRUE(there(record));
  rig_.loop.run_for(1h);
  EXPECT_FALSE(there(record));
}

TEST_F(RetentionTest, MoreDeadLettersThanAreLookedAtHoldEverything) {
  const RunRecord record = over("r");
  for (std::size_t i = 0; i <= kDeadLettersMax; ++i) bury("fn.f", EventId(std::to_string(i)));
  rig_.loop.run_for(31 * kDay);
  const auto needed = rig_.wait(needed_runs(rig_.loop, rig_.parts.broker));
  ASSERT_FALSE(needed);
  EXPECT_EQ(needed.error().code, Errc::failed_precondition);
}

TEST_F(RetentionTest, AttemptsOfEventsThatNeverCameToARunGoToo) {
  const RunId run_id{"never committed"};
  Attempt attempt;
  attempt.run_id = run_id;
  attempt.token = AttemptToken("t");
  attempt.node = "node-1";
  attempt.started_at = rig_.loop.wall_now();
  ASSERT_TRUE(rig_.wait(rig_.parts.state.runs().begin_attempt(attempt)));
  attempt.outcome = AttemptOutcome::failed;
  ASSERT_TRUE(rig_.wait(rig_.parts.state.runs().end_attempt(attempt)));
  ASSERT_TRUE(rig_.wait(rig_.parts.state.runs().forget_directory(attempt.token)));
  start();
  run_for(30 * kDay - 1h);
  EXPECT_EQ(rig_.wait(rig_.parts.state.runs().attempts(run_id))->size(), 1U);
  run_for(2h);
  EXPECT_TRUE(rig_.wait(rig_.parts.state.runs().attempts(run_id))->empty());
  EXPECT_TRUE(metric("millrace_retention_removed_total{what=\"attempt\"} 1"));
}

TEST_F(RetentionTest, UserTopicsHoldNothing) {
  ASSERT_TRUE(rig_.wait(rig_.parts.broker.ensure({.name = "news", .groups = {}})));
  rig_.parts.broker.lags["news"] = {.pending = 5, .oldest = 60 * kDay};
  const RunRecord record = over("r");
  start();
  run_for(31 * kDay);
  EXPECT_FALSE(there(record));
}

}  // namespace
}  // namespace millrace
