// Two daemons on one database.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "async/task_group.h"
#include "tests/contract/state/backends.h"
#include "tests/contract/state/postgres/stores.h"

namespace millrace::test {
namespace {

class PostgresRace : public PostgresTest {
 public:
  ~PostgresRace() override {
    close(*one_);
    close(*other_);
  }

 protected:
  PostgresRace() : one_(node(options(url_))), other_(node(options(url_))) {}

  RunStore& one() { return one_->state->runs(); }
  RunStore& other() { return other_->state->runs(); }

  const std::string url_ = postgres_server().url(postgres_server().make_database());
  std::unique_ptr<Node> one_;
  std::unique_ptr<Node> other_;
};

using Results = std::vector<CommitResult>;

Task<void> commit(RunStore& runs, std::string run_id, std::string token, Results& results) {
  RunRecord mine = record(run_id);
  mine.token = AttemptToken(token);
  mine.outputs = {output("made by " + token)};
  auto result = co_await runs.commit(std::move(mine));
  // A sweeper may have given the attempt up before.
  if (!result && result.error().code == Errc::aborted) co_return;
  EXPECT_TRUE(result) << result.error().message;
  if (result) results.push_back(std::move(*result));
}

TEST_F(PostgresRace, OfTwoDaemonsCommitsExactlyOneStandsAndBothAreToldWhich) {
  // In opposite orders: transactions of both then wait for one another, and the server ends one of them.
  constexpr int kRuns = 300;
  Results results;
  TaskGroup group(loop_);
  for (int i = 0; i < kRuns; ++i) {
    group.spawn(commit(one(), "r" + std::to_string(i), "one " + std::to_string(i), results));
    const int j = kRuns - 1 - i;
    group.spawn(commit(other(), "r" + std::to_string(j), "other " + std::to_string(j), results));
  }
  run(group.join());
  ASSERT_EQ(results.size(), 2U * kRuns);
  std::map<RunId, std::set<AttemptToken>> standing;
  std::map<RunId, int> wins;
  for (const auto& result : results) {
    standing[result.standing.run_id].insert(result.standing.token);
    wins[result.standing.run_id] += result.won ? 1 : 0;
  }
  ASSERT_EQ(standing.size(), static_cast<std::size_t>(kRuns));
  for (const auto& [run_id, tokens] : standing) {
    EXPECT_EQ(tokens.size(), 1U) << run_id.str();
    EXPECT_EQ(wins[run_id], 1) << run_id.str();
    const auto row = run(other().get(run_id));
    ASSERT_TRUE(row && *row);
    EXPECT_EQ((*row)->token, *tokens.begin());
    ASSERT_EQ((*row)->outputs.size(), 1U);
    EXPECT_EQ((*row)->outputs[0].name, "made by " + tokens.begin()->str());
  }
}

TEST_F(PostgresRace, NothingBeginsWhereTheOtherDaemonsRecordStands) {
  RunRecord row = record("r");
  ASSERT_TRUE(run(one().commit(row)));
  const auto standing = run(other().begin_attempt(attempt("r", "late")));
  ASSERT_TRUE(standing && *standing);
  expect_same(**standing, row);
  EXPECT_TRUE(run(one().attempts(RunId("r")))->empty());
}

TEST_F(PostgresRace, AnAttemptOfOneNodeIsSeenAndAbandonedByTheOtherOnce) {
  Attempt lost = attempt("r", "t");
  lost.node = "node-2";
  ASSERT_TRUE(run(one().begin_attempt(lost)));
  const auto open = run(other().open_attempts(at(1000), {}, 10));
  ASSERT_TRUE(open);
  ASSERT_EQ(open->size(), 1U);
  EXPECT_EQ(open->front().node, "node-2");
  const auto end = ended(lost, AttemptOutcome::lost);
  EXPECT_EQ(*run(other().abandon_attempt(end)), true);
  EXPECT_EQ(*run(one().abandon_attempt(end)), false);
}

Task<void> abandon(RunStore& runs, Attempt attempt, std::map<std::string, bool>& abandoned) {
  const std::string token = attempt.token.str();
  const auto done = co_await runs.abandon_attempt(std::move(attempt));
  EXPECT_TRUE(done) << done.error().message;
  if (done) abandoned[token] = *done;
}

TEST_F(PostgresRace, AnAttemptIsAbandonedByOneSweeperAtMostAndNeverOnceARowNamesIt) {
  constexpr int kRuns = 200;
  for (int i = 0; i < kRuns; ++i) {
    ASSERT_TRUE(run(one().begin_attempt(attempt("r" + std::to_string(i), "t" + std::to_string(i)))));
  }
  Results results;
  std::map<std::string, bool> by_one;
  std::map<std::string, bool> by_other;
  TaskGroup group(loop_);
  for (int i = 0; i < kRuns; ++i) {
    const auto number = std::to_string(i);
    const auto end = ended(attempt("r" + number, "t" + number), AttemptOutcome::lost);
    group.spawn(abandon(one(), end, by_one));
    if (i % 2 == 0) group.spawn(commit(one(), "r" + number, "t" + number, results));
    group.spawn(abandon(other(), end, by_other));
  }
  run(group.join());
  for (int i = 0; i < kRuns; ++i) {
    const auto token = "t" + std::to_string(i);
    EXPECT_FALSE(by_one[token] && by_other[token]) << token << " was abandoned twice";
    const bool committed = i % 2 == 0;
    if (!committed) EXPECT_TRUE(by_one[token] || by_other[token]) << token;
    const auto late = run(other().abandon_attempt(ended(attempt("r", token), AttemptOutcome::lost)));
    ASSERT_TRUE(late);
    EXPECT_FALSE(*late) << token << " has an end or a row by now";
  }
}

TEST_F(PostgresRace, ACommitThatIsRepeatedIsStillTheOneThatWon) {
  const RunRecord row = record("r");
  ASSERT_TRUE(run(one().commit(row))->won);
  const auto again = run(other().commit(row));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->won) << "its answer may have been lost with a connection";
  expect_same(again->standing, row);
}

Task<void> put_function(StateStore& state, std::string name, std::vector<Errc>& refusals) {
  FunctionSpec function;
  function.name = std::move(name);
  const auto done = co_await state.functions().put(std::move(function));
  if (!done) refusals.push_back(done.error().code);
}

TEST_F(PostgresRace, WhatTheServerRefusesDoesNotSpoilWhatIsWrittenBesideIt) {
  // A key that no index of the server's can hold.
  std::mt19937 random(7);
  std::string wide(6000, 'x');
  std::ranges::generate(wide, [&random] { return static_cast<char>(random()); });
  std::vector<Errc> refusals;
  Results results;
  TaskGroup group(loop_);
  for (int i = 0; i < 40; ++i) {
    group.spawn(commit(one(), "r" + std::to_string(i), "t" + std::to_string(i), results));
    if (i == 20) group.spawn(put_function(*one_->state, wide, refusals));
  }
  run(group.join());
  EXPECT_EQ(refusals, std::vector<Errc>{Errc::too_large});
  EXPECT_EQ(results.size(), 40U);
  EXPECT_TRUE(std::ranges::all_of(results, &CommitResult::won));
}

TEST_F(PostgresRace, KeysOfAnyLengthAreRemembered) {
  std::mt19937 random(7);
  std::string path(4095, 'x');
  std::ranges::generate(path, [&random] { return static_cast<char>(1 + random() % 255); });
  auto& seen = one_->state->seen();
  ASSERT_TRUE(run(seen.put("trigger", {{path, EventId("1")}})));
  ASSERT_TRUE(run(seen.put("trigger", {{path, EventId("2")}})));
  EXPECT_EQ(run(other_->state->seen().get("trigger", path)), EventId("2"));
}

Task<void> fill_often(SeenStore& seen, std::string prefix) {
  for (int i = 0; i < 20; ++i) {
    std::map<std::string, EventId> rows;
    for (int j = 0; j < 50; ++j) rows.emplace("key " + std::to_string(j), EventId(prefix + std::to_string(i)));
    const auto done = co_await seen.fill("trigger", std::move(rows));
    EXPECT_TRUE(done) << done.error().message;
  }
}

TEST_F(PostgresRace, FillsOfTwoDaemonsLeaveEveryKeyOnce) {
  TaskGroup group(loop_);
  group.spawn(fill_often(one_->state->seen(), "one "));
  group.spawn(fill_often(other_->state->seen(), "other "));
  run(group.join());
  const auto rows = run(one_->state->seen().all("trigger"));
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->size(), 50U);
}

}  // namespace
}  // namespace millrace::test
