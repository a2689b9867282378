#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <utility>

#include "tests/contract/state/backends.h"

namespace millrace::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class AttemptContract : public StateContract {
 protected:
  RunStore& runs() { return state().runs(); }

  void begin(const Attempt& one) {
    const auto done = run(runs().begin_attempt(one));
    ASSERT_TRUE(done) << done.error().message;
  }

  void end(const Attempt& one, AttemptOutcome outcome) {
    const auto done = run(runs().end_attempt(ended(one, outcome)));
    ASSERT_TRUE(done) << done.error().message;
  }

  void commit(const std::string& run_id, const std::string& token, bool with_outputs) {
    RunRecord row = record(run_id);
    row.token = AttemptToken(token);
    if (!with_outputs) row.outputs.clear();
    ASSERT_TRUE(run(runs().commit(row)));
  }

  std::vector<std::string> open(int before_ms = 1000, std::size_t limit = 100, const std::string& after = {}) {
    const auto found = run(runs().open_attempts(at(before_ms), AttemptToken(after), limit));
    EXPECT_TRUE(found);
    return found ? tokens(*found) : std::vector<std::string>();
  }

  std::vector<std::string> stale(std::size_t limit = 100) {
    const auto found = run(runs().stale_directories(limit));
    EXPECT_TRUE(found);
    return found ? tokens(*found) : std::vector<std::string>();
  }
};

TEST_P(AttemptContract, KeepsEveryMemberFromBeginToEnd) {
  begin(attempt("r", "t1", 5));
  begin(attempt("r", "t2", 4));
  begin(attempt("other", "t3", 3));
  end(attempt("r", "t1", 5), AttemptOutcome::timed_out);
  reopen();
  const auto found = run(runs().attempts(RunId("r")));
  ASSERT_TRUE(found);
  ASSERT_THAT(tokens(*found), ElementsAre("t2", "t1"));
  expect_same((*found)[0], attempt("r", "t2", 4));
  expect_same((*found)[1], ended(attempt("r", "t1", 5), AttemptOutcome::timed_out));
}

TEST_P(AttemptContract, DoesNotBeginOnceTheRunHasARecord) {
  begin(attempt("r", "t1"));
  commit("r", "t1", true);
  const auto late = run(runs().begin_attempt(attempt("r", "t2")));
  ASSERT_TRUE(late) << late.error().message;
  ASSERT_TRUE(*late);
  EXPECT_EQ((*late)->token, AttemptToken("t1"));
  EXPECT_EQ((*late)->outputs.size(), record("r").outputs.size());
  const auto found = run(runs().attempts(RunId("r")));
  ASSERT_TRUE(found);
  EXPECT_THAT(tokens(*found), ElementsAre("t1"));
}

TEST_P(AttemptContract, BeginsOnce) {
  begin(attempt("r", "t"));
  const auto again = run(runs().begin_attempt(attempt("r", "t", 7)));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::already_exists);
  const auto found = run(runs().attempts(RunId("r")));
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1U);
  expect_same(found->front(), attempt("r", "t"));
}

TEST_P(AttemptContract, TheFirstEndStands) {
  begin(attempt("r", "t"));
  end(attempt("r", "t"), AttemptOutcome::lost);
  end(attempt("r", "t"), AttemptOutcome::succeeded);
  const auto found = run(runs().attempts(RunId("r")));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->front().outcome, AttemptOutcome::lost);
}

TEST_P(AttemptContract, OnlyWhatHasNoEndAndNoRowCanBeAbandoned) {
  const auto abandon = [this](const char* run_id, const char* token) {
    return run(runs().abandon_attempt(ended(attempt(run_id, token), AttemptOutcome::lost)));
  };
  begin(attempt("dead", "t1"));
  EXPECT_EQ(*abandon("dead", "t1"), true);
  EXPECT_EQ(*abandon("dead", "t1"), false) << "it has an end now";
  EXPECT_EQ(run(runs().attempts(RunId("dead")))->front().outcome, AttemptOutcome::lost);

  begin(attempt("won", "t2"));
  RunRecord row = record("won");
  row.token = AttemptToken("t2");
  ASSERT_TRUE(run(runs().commit(row)));
  EXPECT_EQ(*abandon("won", "t2"), false) << "its directory holds what the row names";
  EXPECT_EQ(run(runs().attempts(RunId("won")))->front().outcome, std::nullopt);

  EXPECT_EQ(abandon("r", "never").error().code, Errc::not_found);
}

TEST_P(AttemptContract, EveryOutcomeIsKept) {
  for (const auto outcome :
       {AttemptOutcome::succeeded, AttemptOutcome::failed, AttemptOutcome::timed_out, AttemptOutcome::out_of_memory,
        AttemptOutcome::output_too_large, AttemptOutcome::cancelled, AttemptOutcome::lost}) {
    const std::string name(name_of(outcome));
    begin(attempt(name, name));
    end(attempt(name, name), outcome);
    const auto found = run(runs().attempts(RunId(name)));
    ASSERT_TRUE(found);
    EXPECT_EQ(found->front().outcome, outcome);
  }
}

TEST_P(AttemptContract, ARowWithoutOutputsEndsItsAttemptAndLeavesADirectoryThatNobodyNeeds) {
  const std::array<std::pair<RunOutcome, AttemptOutcome>, 2> ends{
      {{RunOutcome::succeeded, AttemptOutcome::succeeded}, {RunOutcome::skipped, AttemptOutcome::cancelled}}};
  for (const auto& [outcome, told] : ends) {
    const std::string name(name_of(outcome));
    begin(attempt(name, name));
    RunRecord row = record(name);
    row.token = AttemptToken(name);
    row.outcome = outcome;
    row.outputs.clear();
    ASSERT_TRUE(run(runs().commit(row)));
    const auto found = run(runs().attempts(RunId(name)));
    ASSERT_TRUE(found);
    EXPECT_EQ(found->front().outcome, told);
    EXPECT_EQ(found->front().ended_at, row.committed_at);
    const auto stale = run(runs().stale_directories(100));
    ASSERT_TRUE(stale);
    ASSERT_EQ(stale->size(), 1U);
    EXPECT_EQ(stale->front().token, row.token);
    ASSERT_TRUE(run(runs().forget_directory(row.token)));
  }
}

TEST_P(AttemptContract, ARowWithoutOutputsDoesNotChangeTheEndThatIsThere) {
  begin(attempt("r", "t"));
  end(attempt("r", "t"), AttemptOutcome::failed);
  RunRecord row = record("r");
  row.token = AttemptToken("t");
  row.outcome = RunOutcome::skipped;
  row.outputs.clear();
  ASSERT_TRUE(run(runs().commit(row)));
  EXPECT_EQ(run(runs().attempts(RunId("r")))->front().outcome, AttemptOutcome::failed);
}

TEST_P(AttemptContract, RefusesWhatNeverBeganOrIsIncomplete) {
  const auto unknown = run(runs().end_attempt(ended(attempt("r", "t"), AttemptOutcome::failed)));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::not_found);
  for (const Attempt& wrong : {attempt("", "t"), attempt("r", ""), ended(attempt("r", "t"), AttemptOutcome::failed)}) {
    const auto refused = run(runs().begin_attempt(wrong));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  }
  begin(attempt("r", "t"));
  for (const Attempt& wrong : {attempt("r", "t"), ended(attempt("r", ""), AttemptOutcome::failed)}) {
    const auto refused = run(runs().end_attempt(wrong));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  }
  for (const std::size_t limit : {std::size_t{0}, kRunListMax + 1}) {
    const auto opened = run(runs().open_attempts(at(0), {}, limit));
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::invalid_argument);
    const auto left = run(runs().stale_directories(limit));
    ASSERT_FALSE(left);
    EXPECT_EQ(left.error().code, Errc::invalid_argument);
  }
}

TEST_P(AttemptContract, OpenAreThoseThatNobodyEndedAndNoRowNames) {
  begin(attempt("r1", "winner", 1));
  begin(attempt("r1", "loser", 2));
  begin(attempt("r2", "ended", 3));
  begin(attempt("r3", "running", 4));
  begin(attempt("r3", "late", 10));
  end(attempt("r2", "ended", 3), AttemptOutcome::failed);
  commit("r1", "winner", true);
  EXPECT_THAT(open(), ElementsAre("loser", "running", "late"));
  EXPECT_THAT(open(10), ElementsAre("loser", "running"));
  EXPECT_THAT(open(1000, 1), ElementsAre("loser"));
}

TEST_P(AttemptContract, DirectoriesOfFailedAttemptsAreStaleUntilForgotten) {
  begin(attempt("r", "t1", 1));
  begin(attempt("r", "t2", 2));
  Attempt without = attempt("r", "no directory", 0);
  without.bucket.clear();  // the store's own root
  begin(without);
  ASSERT_TRUE(run(runs().forget_directory(without.token)));
  EXPECT_THAT(stale(), IsEmpty()) << "nothing has ended";
  end(attempt("r", "t1", 1), AttemptOutcome::lost);
  end(attempt("r", "t2", 2), AttemptOutcome::failed);
  end(without, AttemptOutcome::failed);
  EXPECT_THAT(stale(), ElementsAre("t1", "t2"));
  EXPECT_THAT(stale(1), ElementsAre("t1"));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(run(runs().forget_directory(AttemptToken("t1"))));
  ASSERT_TRUE(run(runs().forget_directory(AttemptToken("never began"))));
  EXPECT_THAT(stale(), ElementsAre("t2"));
}

TEST_P(AttemptContract, ADirectoryIsClaimedFromTheBeginningUntilItIsForgotten) {
  const auto unclaimed = [this](const std::vector<std::string>& asked) {
    const std::vector<AttemptToken> tokens(asked.begin(), asked.end());
    const auto found = run(runs().unclaimed_directories(tokens));
    std::vector<std::string> names;
    for (const auto& token : *found) names.push_back(token.str());
    std::ranges::sort(names);
    return names;
  };
  begin(attempt("r", "runs", 1));
  begin(attempt("r", "forgotten", 2));
  begin(attempt("kept", "row's", 3));
  end(attempt("kept", "row's", 3), AttemptOutcome::succeeded);
  commit("kept", "row's", true);
  end(attempt("r", "forgotten", 2), AttemptOutcome::failed);
  EXPECT_THAT(unclaimed({"runs", "forgotten", "row's"}), IsEmpty());
  ASSERT_TRUE(run(runs().forget_directory(AttemptToken("forgotten"))));
  reopen();
  EXPECT_THAT(unclaimed({"runs", "never began", "forgotten", "row's"}), ElementsAre("forgotten", "never began"));
  EXPECT_THAT(unclaimed({}), IsEmpty());
  const std::vector<AttemptToken> many(kRunListMax + 1, AttemptToken("runs"));
  EXPECT_EQ(run(runs().unclaimed_directories(many)).error().code, Errc::invalid_argument);
}

TEST_P(AttemptContract, TheStoreKeepsTheIdThatItWasMadeWith) {
  const std::string id = state().id();
  EXPECT_THAT(id, testing::MatchesRegex("[0-9a-f]+"));
  EXPECT_EQ(id.size(), kStoreIdLength);
  reopen();
  EXPECT_EQ(state().id(), id);
}

TEST_P(AttemptContract, ASucceededDirectoryIsLeftAloneUntilARowDecides) {
  begin(attempt("r", "winner", 1));
  begin(attempt("r", "loser", 2));
  end(attempt("r", "winner", 1), AttemptOutcome::succeeded);
  end(attempt("r", "loser", 2), AttemptOutcome::succeeded);
  EXPECT_THAT(stale(), IsEmpty()) << "its commit may be on the way";
  commit("r", "winner", true);
  EXPECT_THAT(stale(), ElementsAre("loser"));
}

TEST_P(AttemptContract, ARowKeepsItsDirectoryForItsOutputsOnly) {
  begin(attempt("with", "kept"));
  begin(attempt("without", "empty"));
  commit("with", "kept", true);
  commit("without", "empty", false);
  end(attempt("with", "kept"), AttemptOutcome::failed);
  end(attempt("without", "empty"), AttemptOutcome::succeeded);
  EXPECT_THAT(stale(), ElementsAre("empty"));
  EXPECT_THAT(open(), IsEmpty());
}

TEST_P(AttemptContract, OpenOnesAreListedPageByPage) {
  begin(attempt("r1", "b", 1));
  begin(attempt("r2", "a", 1));
  begin(attempt("r3", "c", 2));
  begin(attempt("r4", "over", 3));
  EXPECT_THAT(open(1000, 2), ElementsAre("a", "b"));
  EXPECT_THAT(open(1000, 2, "b"), ElementsAre("c", "over"));
  end(attempt("r4", "over", 3), AttemptOutcome::failed);
  EXPECT_THAT(open(1000, 2, "b"), ElementsAre("c"));
  EXPECT_THAT(open(1000, 2, "over"), ElementsAre()) << "what has ended since is a place to go on from, too";
  EXPECT_THAT(open(1000, 2, "unknown"), ElementsAre());
}

TEST_P(AttemptContract, WhatWasGivenUpForLostCommitsNoOutputs) {
  begin(attempt("r", "lost"));
  ASSERT_TRUE(*run(runs().abandon_attempt(ended(attempt("r", "lost"), AttemptOutcome::lost))));
  RunRecord late = record("r");
  late.token = AttemptToken("lost");
  const auto refused = run(runs().commit(late));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::aborted);
  EXPECT_FALSE(*run(runs().get(RunId("r"))));

  begin(attempt("r", "heir", 1));
  commit("r", "heir", true);
  const auto standing = run(runs().commit(late));
  ASSERT_TRUE(standing);
  EXPECT_FALSE(standing->won);
  EXPECT_EQ(standing->standing.token, AttemptToken("heir"));
}

TEST_P(AttemptContract, WhatWasGivenUpForLostMayStillTellHowItFailed) {
  begin(attempt("r", "lost"));
  ASSERT_TRUE(*run(runs().abandon_attempt(ended(attempt("r", "lost"), AttemptOutcome::lost))));
  commit("r", "lost", false);
  EXPECT_EQ((*run(runs().get(RunId("r"))))->token, AttemptToken("lost"));
}

INSTANTIATE_TEST_SUITE_P(Backends, AttemptContract, testing::ValuesIn(backends()), backend_name);

}  // namespace
}  // namespace millrace::test
