#include "engine/sweeper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using Names = std::vector<std::string>;

const Error kAway{.code = Errc::unavailable, .message = "away"};

class SweeperTest : public testing::Test {
 protected:
  static constexpr SweeperOptions kOptions{.every = 10s, .age_min = 120s, .batch = 100, .alone = true};

  Task<void> sweep(WallTime started) {
    co_await sweeper_.drop_own_attempts();
    co_await sweeper_.sweep_own_past(started);
    swept_ = true;
  }
  void sweep_own_past(WallTime started) {
    swept_ = false;
    rig_.group.spawn(sweep(started));
    rig_.loop.run_for(0s);
    ASSERT_TRUE(swept_);
  }
  void run_for(EventLoop::Duration span) {
    if (rig_.group.size() == 0) rig_.group.spawn(sweeper_.run(stop_.get_token()));
    rig_.loop.run_for(span);
  }

  Task<void> begin(Attempt attempt) {
    const auto begun = co_await rig_.parts.state.runs().begin_attempt(std::move(attempt));
    EXPECT_TRUE(begun);
  }

  // An attempt with a directory that nobody has ended.
  Attempt open_attempt(const std::string& number, const std::string& node = "node-1") {
    Attempt attempt;
    attempt.run_id = RunId(identity_hash({"run", number}));
    attempt.token = AttemptToken(identity_hash({"token", number}));
    attempt.bucket = "out";
    attempt.node = node;
    attempt.started_at = rig_.loop.wall_now();
    if (!rig_.wait(rig_.parts.state.runs().begin_attempt(attempt))) throw std::runtime_error("begin");
    (void)rig_.wait(rig_.parts.storage.make_attempt(place_of(attempt)));
    return attempt;
  }
  static LiveRun live(const RunId& run_id) {
    LiveRun run;
    run.run_id = run_id;
    return run;
  }
  static AttemptPlace place_of(const Attempt& attempt) {
    return {.bucket = attempt.bucket, .run_id = attempt.run_id, .token = attempt.token};
  }
  std::optional<AttemptOutcome> outcome(const Attempt& attempt) {
    return rig_.wait(rig_.parts.state.runs().attempts(attempt.run_id))->at(0).outcome;
  }
  [[nodiscard]] std::size_t directories() const { return rig_.parts.storage.attempts(); }
  bool finished(const RunRecord& record) {
    const auto row = rig_.row(record.run_id);
    return row->placed && row->published;
  }

  EngineRig rig_;
  std::stop_source stop_;
  Sweeper sweeper_{rig_.loop,       rig_.parts.state, rig_.parts.storage, rig_.parts.finish,
                   rig_.parts.runs, "node-1",         kOptions,           rig_.parts.log};

 private:
  bool swept_ = false;
};

TEST_F(SweeperTest, AtStartEverythingOfThisNodeFromBeforeIsTakenUpWhateverItsAge) {
  const RunRecord record = rig_.committed("first", "out", {"a"});
  const Attempt attempt = open_attempt("x");
  rig_.loop.run_for(1ms);
  sweep_own_past(rig_.loop.wall_now());
  EXPECT_TRUE(finished(record));
  EXPECT_EQ(rig_.parts.storage.visible("out"), (Names{"a"}));
  EXPECT_EQ(outcome(attempt), AttemptOutcome::lost);
  EXPECT_EQ(directories(), 0U);
}

TEST_F(SweeperTest, DirectoriesOfThisStoreThatNoRowClaimsGoAtTheStart) {
  const auto lies = [this](const std::string& store, const std::string& number) {
    AttemptPlace place{.bucket = "out",
                       .run_id = RunId(identity_hash({"run", number})),
                       .token = AttemptToken(store + identity_hash({"token", number}).substr(0, 24))};
    EXPECT_TRUE(rig_.wait(rig_.parts.storage.make_attempt(place)));
    return place;
  };
  const std::string& own = rig_.parts.state.id();
  for (int i = 0; i < 250; ++i) lies(own, std::to_string(i));  // several pages
  const AttemptPlace other = lies("01234567", "of another store in the same bucket");
  const AttemptPlace in_hand = lies(own, "in hand");
  const RunTable::Active active(rig_.parts.runs, live(in_hand.run_id));
  const Attempt claimed = open_attempt("claimed");
  const RunRecord kept = rig_.committed("kept", "out", {"a"});
  run_for(1ms);
  const auto left = rig_.wait(rig_.parts.storage.attempts({}, 1000));
  std::vector<AttemptPlace> places;
  for (const auto& found : *left) places.push_back(found.place);
  for (const auto& place : {other, in_hand, place_of(claimed)}) EXPECT_EQ(std::ranges::count(places, place), 1);
  EXPECT_LE(places.size(), 4U) << "and the directory of the run that is kept, if it has one";
}

// What the walk has found is removed one after the other, and a run may come to its end meanwhile.
TEST_F(SweeperTest, TheWalkLeavesADirectoryAloneWhoseRunEndsWhileOthersAreRemoved) {
  const auto token = [this](const std::string& number) {
    return AttemptToken(rig_.parts.state.id() + identity_hash({"token", number}).substr(0, 24));
  };
  const AttemptPlace lost{.bucket = "a", .run_id = RunId("lost"), .token = token("lost")};
  EXPECT_TRUE(rig_.wait(rig_.parts.storage.make_attempt(lost)));
  Attempt attempt;
  attempt.run_id = RunId("ends");
  attempt.token = token("ends");
  attempt.bucket = "b";
  attempt.node = "node-1";
  attempt.started_at = rig_.loop.wall_now();
  EXPECT_TRUE(rig_.wait(rig_.parts.storage.make_attempt(place_of(attempt))));
  std::optional<RunTable::Active> active(std::in_place, rig_.parts.runs, live(attempt.run_id));
  bool ended = false;
  rig_.parts.storage.on_remove = [&] {
    if (std::exchange(ended, true)) return;
    rig_.group.spawn(begin(attempt));
    active.reset();
  };
  run_for(1s);
  EXPECT_TRUE(ended);
  EXPECT_EQ(rig_.parts.storage.attempt_paths().size(), 1U);
  EXPECT_EQ(rig_.wait(rig_.parts.state.runs().attempts(attempt.run_id))->size(), 1U);
}

TEST_F(SweeperTest, AtStartNoRowThatWasCommittedSinceIsTouched) {
  const WallTime started = rig_.loop.wall_now();
  const RunRecord record = rig_.committed("first", "out", {"a"});
  sweep_own_past(started);
  EXPECT_FALSE(finished(record));
}

TEST_F(SweeperTest, AtStartAnAttemptFromAClockThatWasAheadIsOverAsWell) {
  const Attempt attempt = open_attempt("x");
  rig_.loop.jump_wall_clock(-24h);
  sweep_own_past(rig_.loop.wall_now());
  EXPECT_EQ(outcome(attempt), AttemptOutcome::lost);
  EXPECT_EQ(directories(), 0U);
}

TEST_F(SweeperTest, AtStartAnotherNodesAttemptsAreLeftAlone) {
  const Attempt theirs = open_attempt("x", "node-2");
  rig_.loop.run_for(1ms);
  sweep_own_past(rig_.loop.wall_now());
  EXPECT_EQ(outcome(theirs), std::nullopt);
  EXPECT_EQ(directories(), 1U);
}

TEST_F(SweeperTest, LaterOnlyWhatIsOldEnoughIsTakenUp) {
  const RunRecord record = rig_.committed("first", "out", {"a"});
  const Attempt attempt = open_attempt("x");
  run_for(120s);
  EXPECT_FALSE(finished(record)) << "exactly as old as the bound is too young";
  EXPECT_EQ(outcome(attempt), std::nullopt);
  run_for(10s);
  EXPECT_TRUE(finished(record));
  EXPECT_EQ(outcome(attempt), AttemptOutcome::lost);
  EXPECT_EQ(directories(), 0U);
}

TEST_F(SweeperTest, WhatSomebodyHereWorksOnIsLeftAlone) {
  const RunRecord record = rig_.committed("first", "out", {"a"});
  const Attempt attempt = open_attempt("x");
  {
    const RunTable::Active one(rig_.parts.runs, live(record.run_id));
    const RunTable::Active two(rig_.parts.runs, live(attempt.run_id));
    run_for(600s);
    EXPECT_FALSE(finished(record));
    EXPECT_EQ(outcome(attempt), std::nullopt);
    EXPECT_EQ(directories(), 2U);
  }
  run_for(10s);
  EXPECT_TRUE(finished(record));
  EXPECT_EQ(outcome(attempt), AttemptOutcome::lost);
}

TEST_F(SweeperTest, ADirectoryThatCouldNotBeRemovedIsRemovedLater) {
  const Attempt attempt = open_attempt("x");
  rig_.parts.storage.fail_next(StorageCall::remove_attempt, 1, kAway);
  run_for(125s);
  EXPECT_EQ(directories(), 1U);
  run_for(10s);
  EXPECT_EQ(outcome(attempt), AttemptOutcome::lost);
  EXPECT_EQ(directories(), 0U) << "in the same sweep or the next: its row says that it is there";
}

TEST_F(SweeperTest, ARemovedDirectoryIsForgotten) {
  (void)open_attempt("x");
  run_for(600s);
  EXPECT_EQ(rig_.parts.storage.calls(StorageCall::remove_attempt), 1);
}

TEST_F(SweeperTest, ADirectoryThatCouldNotBeForgottenIsRemovedOnceMore) {
  (void)open_attempt("x");
  rig_.parts.state.fail_next(StateCall::forget_directory, kAway);
  run_for(600s);
  EXPECT_EQ(rig_.parts.storage.calls(StorageCall::remove_attempt), 2);
}

TEST_F(SweeperTest, AnAttemptWhoseEndCannotBeWrittenKeepsItsDirectory) {
  const Attempt attempt = open_attempt("x");
  rig_.parts.state.fail_next(StateCall::end_attempt, kAway);
  run_for(135s);
  EXPECT_EQ(outcome(attempt), std::nullopt);
  EXPECT_EQ(directories(), 1U);
  run_for(10s);
  EXPECT_EQ(outcome(attempt), AttemptOutcome::lost);
  EXPECT_EQ(directories(), 0U);
}

TEST_F(SweeperTest, TheDirectoryOfAnEndedAttemptGoesButNotTheOneARowNeeds) {
  Attempt failed = open_attempt("x");
  failed.outcome = AttemptOutcome::failed;
  ASSERT_TRUE(rig_.wait(rig_.parts.state.runs().end_attempt(failed)));
  Attempt won = open_attempt("y");
  RunRecord record;
  record.run_id = won.run_id;
  record.token = won.token;
  record.committed_at = rig_.loop.wall_now();
  record.outputs.resize(1);
  record.placed = record.published = true;
  ASSERT_TRUE(rig_.wait(rig_.parts.state.runs().commit(record)));
  run_for(10s);
  EXPECT_EQ(directories(), 1U);
  run_for(600s);
  EXPECT_EQ(directories(), 1U);
  EXPECT_EQ(outcome(won), std::nullopt) << "the row says how it ended";
}

TEST_F(SweeperTest, ARowThatCannotBeFinishedIsTriedAgainAndKeepsNoOtherBack) {
  const RunRecord bad = rig_.committed("first", "out", {"a"});
  rig_.loop.run_for(1ms);  // the oldest comes first
  const RunRecord good = rig_.committed("first", "out", {"b"});
  rig_.parts.storage.fail_placing(1, kAway);
  rig_.loop.run_for(500s);
  run_for(15s);
  EXPECT_FALSE(finished(bad));
  EXPECT_TRUE(finished(good));
  run_for(10s);
  EXPECT_TRUE(finished(bad));
}

TEST_F(SweeperTest, RowsThatCanNeverBePlacedAreLeftToARedriveAndKeepNoOtherBack) {
  std::vector<RunRecord> bad;
  for (std::size_t i = 0; i < kOptions.batch; ++i) {
    bad.push_back(rig_.committed("first", "out", {"f" + std::to_string(i)}));
  }
  rig_.loop.run_for(1ms);
  const RunRecord good = rig_.committed("first", "out", {"good"});
  rig_.parts.storage.fail_placing(static_cast<int>(bad.size()),
                                  {.code = Errc::failed_precondition, .message = "a directory"});
  rig_.loop.run_for(500s);
  run_for(600s);
  EXPECT_TRUE(finished(good));
  EXPECT_FALSE(finished(bad.front()));
  EXPECT_EQ(rig_.parts.storage.calls(StorageCall::place), static_cast<int>(bad.size()) + 1) << "not again and again";
}

TEST_F(SweeperTest, MoreThanALongListOfRowsThatCanNeverBePlacedKeepNoOtherBack) {
  const std::size_t many = kRunListMax + 100;
  for (std::size_t i = 0; i < many; ++i) (void)rig_.committed("first", "out", {"f" + std::to_string(i)});
  rig_.loop.run_for(1ms);
  const RunRecord good = rig_.committed("first", "out", {"good"});
  rig_.parts.storage.fail_placing(static_cast<int>(many),
                                  {.code = Errc::failed_precondition, .message = "a directory"});
  rig_.loop.run_for(500s);
  run_for(many / kOptions.batch * kOptions.every + 20s);
  EXPECT_TRUE(finished(good));
  run_for(100s);
  EXPECT_EQ(rig_.parts.storage.calls(StorageCall::place), static_cast<int>(many) + 1) << "not again and again";
}

TEST_F(SweeperTest, RowsThatFailForNowKeepNoOtherBack) {
  std::vector<RunRecord> bad;
  for (std::size_t i = 0; i < kOptions.batch; ++i) {
    bad.push_back(rig_.committed("first", "out", {"f" + std::to_string(i)}));
  }
  rig_.loop.run_for(1ms);
  const RunRecord good = rig_.committed("first", "out", {"good"});
  rig_.parts.storage.fail_placing(static_cast<int>(bad.size()), kAway);
  rig_.loop.run_for(500s);
  run_for(25s);
  EXPECT_TRUE(finished(good));
  EXPECT_FALSE(finished(bad.front()));
  run_for(10s);
  EXPECT_TRUE(finished(bad.front())) << "from the oldest again";
}

TEST_F(SweeperTest, AStateStoreThatIsAwayIsAskedAgain) {
  const RunRecord record = rig_.committed("first", "out", {"a"});
  const Attempt attempt = open_attempt("x");
  rig_.loop.run_for(200s);
  for (const auto call : {StateCall::unfinished, StateCall::open_attempts, StateCall::stale_directories}) {
    rig_.parts.state.fail_next(call, kAway);
  }
  run_for(15s);
  EXPECT_FALSE(finished(record));
  EXPECT_EQ(outcome(attempt), std::nullopt);
  run_for(10s);
  EXPECT_TRUE(finished(record));
  EXPECT_EQ(outcome(attempt), AttemptOutcome::lost);
}

TEST_F(SweeperTest, ItStopsWhenToldTo) {
  run_for(5s);
  EXPECT_EQ(rig_.group.size(), 1U);
  stop_.request_stop();
  rig_.loop.run_for(0s);
  EXPECT_EQ(rig_.group.size(), 0U);
}

TEST_F(SweeperTest, MoreRowsThanABatchAreFinishedOverSeveralSweeps) {
  std::vector<RunRecord> records;
  for (std::size_t i = 0; i < kOptions.batch + 1; ++i) {
    records.push_back(rig_.committed("first", "out", {"f" + std::to_string(i)}));
  }
  run_for(135s);
  EXPECT_EQ(rig_.parts.storage.visible("out").size(), kOptions.batch);
  run_for(10s);
  EXPECT_EQ(rig_.parts.storage.visible("out").size(), records.size());
}

TEST(SweeperAtStart, AtStartAllOfThePastIsSweptAndNotOnlyABatch) {
  EngineRig rig;
  Sweeper sweeper(rig.loop, rig.parts.state, rig.parts.storage, rig.parts.finish, rig.parts.runs, "node-1",
                  {.batch = 10}, rig.parts.log);
  for (int i = 0; i < 25; ++i) rig.committed("first", "out", {"f" + std::to_string(i)});
  rig.loop.run_for(1ms);
  rig.group.spawn(sweeper.sweep_own_past(rig.loop.wall_now()));
  rig.loop.run_for(0s);
  EXPECT_EQ(rig.parts.storage.visible("out").size(), 25U);
}

}  // namespace
}  // namespace millrace
