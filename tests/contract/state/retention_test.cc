#include <gmock/gmock.h>

#include "tests/contract/state/backends.h"

namespace millrace::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class RetentionContract : public StateContract {
 protected:
  RunStore& runs() { return state().runs(); }

  // A run without outputs that is finished with its commit.
  static RunRecord over(const std::string& run_id, int committed_ms) {
    RunRecord row = record(run_id, committed_ms);
    row.outputs.clear();
    row.placed = row.published = true;
    return row;
  }
  void commit(const RunRecord& row) {
    const auto done = run(runs().commit(row));
    ASSERT_TRUE(done) << done.error().message;
  }
  void begin(const Attempt& one) { ASSERT_TRUE(run(runs().begin_attempt(one))); }
  void end(const Attempt& one) { ASSERT_TRUE(run(runs().end_attempt(ended(one, AttemptOutcome::failed)))); }

  std::vector<std::string> removable(int before_ms = 1000, const std::string& after = {}, std::size_t limit = 100) {
    return removable_before(at(before_ms), after, limit);
  }
  std::vector<std::string> removable_before(WallTime before, const std::string& after = {}, std::size_t limit = 100) {
    const auto found = run(runs().removable(before, RunId(after), limit));
    EXPECT_TRUE(found);
    std::vector<std::string> names;
    if (found) {
      for (const auto& old : *found) names.push_back(old.run_id.str());
    }
    return names;
  }
  std::size_t remove(const std::vector<std::string>& names) {
    std::vector<RunId> run_ids;
    for (const auto& name : names) run_ids.emplace_back(name);
    const auto removed = run(runs().remove(std::move(run_ids)));
    EXPECT_TRUE(removed) << removed.error().message;
    return removed.value_or(0);
  }
  bool there(const std::string& run_id) { return run(runs().get(RunId(run_id)))->has_value(); }
};

TEST_P(RetentionContract, OldAreTheRunsThatWereFinishedBefore) {
  commit(over("new", 10));
  commit(over("old", 1));
  commit(over("middle", 5));
  EXPECT_THAT(removable(), ElementsAre("old", "middle", "new"));
  EXPECT_THAT(removable(10), ElementsAre("old", "middle")) << "one that was finished just then is not old";
  EXPECT_THAT(removable(1000, "", 2), ElementsAre("old", "middle"));
  EXPECT_THAT(removable(1000, "old"), ElementsAre("middle", "new"));
  EXPECT_THAT(removable(1000, "new"), IsEmpty());
  EXPECT_THAT(removable(1000, "nobody"), IsEmpty());
  reopen();
  EXPECT_THAT(removable(1000, "old", 1), ElementsAre("middle"));
}

TEST_P(RetentionContract, ARunIsFinishedWithItsSecondMarkAndNotWithItsCommit) {
  const WallTime start = loop_.wall_now();
  RunRecord row = record("r", 1);
  commit(row);
  EXPECT_THAT(removable(), IsEmpty()) << "nothing is placed";
  ASSERT_TRUE(run(runs().mark(RunId("r"), {.placed = true})));
  EXPECT_THAT(removable_before(WallTime::max()), IsEmpty()) << "nothing is published";
  ASSERT_TRUE(run(runs().mark(RunId("r"), {.published = true})));
  EXPECT_THAT(removable_before(start), IsEmpty()) << "its events may be younger than its commit";
  const WallTime now = loop_.wall_now();
  EXPECT_THAT(removable_before(now + std::chrono::seconds(1)), ElementsAre("r"));
  ASSERT_TRUE(run(runs().mark(RunId("r"), {.placed = true, .published = true})));
  EXPECT_EQ(run(runs().get(RunId("r")))->value().committed_at, row.committed_at);
}

TEST_P(RetentionContract, ToldIsTheDirectoryThatHoldsItsOutputs) {
  begin(attempt("with", "kept"));
  RunRecord with = over("with", 1);
  with.outputs = {output("a")};
  with.token = AttemptToken("kept");
  commit(with);
  commit(over("without", 2));
  const auto found = run(runs().removable(at(1000), {}, 100));
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 2U);
  EXPECT_EQ(found->at(0).event_id, with.event_id);
  EXPECT_EQ(found->at(0).bucket, "videos");
  EXPECT_EQ(found->at(0).token, AttemptToken("kept"));
  EXPECT_TRUE(found->at(1).token.empty());
  ASSERT_TRUE(run(runs().forget_directory(AttemptToken("kept"))));
  EXPECT_TRUE(run(runs().removable(at(1000), {}, 100))->at(0).token.empty()) << "it is gone already";
}

TEST_P(RetentionContract, ARunWithAnAttemptThatIsOpenOrHasLeftADirectoryStays) {
  Attempt open = attempt("open", "t1");
  begin(open);
  ASSERT_TRUE(run(runs().forget_directory(open.token)));
  commit(over("open", 1));
  begin(attempt("left", "t2"));
  end(attempt("left", "t2"));
  commit(over("left", 2));
  EXPECT_THAT(removable(), IsEmpty());
  EXPECT_EQ(remove({"open", "left"}), 0U);
  EXPECT_TRUE(there("open"));
  EXPECT_TRUE(there("left"));
  end(open);
  ASSERT_TRUE(run(runs().forget_directory(AttemptToken("t2"))));
  EXPECT_THAT(removable(), ElementsAre("open", "left"));
}

TEST_P(RetentionContract, ARunWhoseCauseIsUnfinishedStaysSinceItsEventMayBePublishedAgain) {
  commit(record("cause", 1));
  RunRecord child = over("child", 2);
  child.cause = RunId("cause");
  commit(child);
  EXPECT_THAT(removable(), IsEmpty());
  ASSERT_TRUE(run(runs().mark(RunId("cause"), {.placed = true, .published = true})));
  EXPECT_THAT(removable(), ElementsAre("child"));
}

TEST_P(RetentionContract, ARunStaysWhileALaterGenerationStands) {
  RunRecord first = over("first", 1);
  RunRecord second = over("second", 500);
  second.event_id = first.event_id;
  second.generation = first.generation + 1;
  RunRecord others = over("others", 3);  // another function's run of the same event
  others.event_id = first.event_id;
  others.function_uid = FunctionUid("another");
  others.generation = first.generation + 7;
  commit(first);
  commit(second);
  commit(others);
  EXPECT_THAT(removable(), ElementsAre("others", "second"));
  EXPECT_EQ(remove({"second"}), 1U);
  EXPECT_THAT(removable(), ElementsAre("first", "others"));
}

TEST_P(RetentionContract, RemovingTakesOutputsAndAttemptsAlongAndNothingElse) {
  for (const char* name : {"goes", "stays"}) {
    begin(attempt(name, std::string("token of ") + name));
    RunRecord row = over(name, 1);
    row.outputs = {output("a"), output("b")};
    commit(row);
  }
  EXPECT_EQ(remove({"goes", "goes", "nobody"}), 1U);
  reopen();
  EXPECT_FALSE(there("goes"));
  EXPECT_THAT(*run(runs().attempts(RunId("goes"))), IsEmpty());
  const auto stays = run(runs().get(RunId("stays")));
  ASSERT_TRUE(stays && *stays);
  EXPECT_EQ((*stays)->outputs.size(), 2U);
  EXPECT_EQ(run(runs().attempts(RunId("stays")))->size(), 1U);
  EXPECT_EQ(remove({}), 0U);

  begin(attempt("goes", "another token"));
  RunRecord again = over("goes", 2);
  again.outputs = {output("c")};
  commit(again);
  const auto found = run(runs().get(RunId("goes")));
  ASSERT_TRUE(found && *found);
  ASSERT_EQ((*found)->outputs.size(), 1U) << "nothing of the removed row is left";
  EXPECT_EQ((*found)->outputs[0].name, "c");
}

TEST_P(RetentionContract, AnUnfinishedRunIsNotRemovedWhoeverAsks) {
  commit(record("r", 1));
  EXPECT_EQ(remove({"r"}), 0U);
  EXPECT_TRUE(there("r"));
}

TEST_P(RetentionContract, TellsWhenTheRunBeforeTheLastOnesWasCommitted) {
  const auto before_last = [this](std::size_t count) { return *run(runs().committed_before_last(count)); };
  EXPECT_EQ(before_last(0), std::nullopt);
  for (int i = 1; i <= 4; ++i) commit(over("r" + std::to_string(i), i));
  EXPECT_EQ(before_last(0), at(4));
  EXPECT_EQ(before_last(1), at(3));
  EXPECT_EQ(before_last(3), at(1));
  EXPECT_EQ(before_last(4), std::nullopt);
  EXPECT_EQ(remove({"r2"}), 1U);
  EXPECT_EQ(before_last(2), at(1)) << "of the last two none was removed";
}

TEST_P(RetentionContract, AttemptsWithoutARunGoWhenTheyAreOverAndOld) {
  const auto end_bare = [this](const std::string& run_id, const std::string& token, int started_ms) {
    Attempt one = attempt(run_id, token, started_ms);
    begin(one);
    ASSERT_TRUE(run(runs().forget_directory(one.token)));
    end(one);
  };
  end_bare("purged", "t1", 1);
  end_bare("purged", "t2", 2);
  end_bare("young", "t3", 50);
  end_bare("stands", "t4", 1);
  commit(over("stands", 1));
  begin(attempt("running", "t5", 1));
  begin(attempt("left", "t6", 1));
  end(attempt("left", "t6", 1));
  EXPECT_EQ(*run(runs().remove_lone_attempts(at(50), 1)), 1U);
  EXPECT_THAT(tokens(*run(runs().attempts(RunId("purged")))), ElementsAre("t2")) << "the oldest first";
  EXPECT_EQ(*run(runs().remove_lone_attempts(at(50), 100)), 1U);
  EXPECT_THAT(*run(runs().attempts(RunId("purged"))), IsEmpty());
  for (const char* name : {"young", "stands", "running", "left"}) {
    EXPECT_EQ(run(runs().attempts(RunId(name)))->size(), 1U) << name;
  }
}

TEST_P(RetentionContract, RefusesLimitsThatAreOutOfBounds) {
  for (const std::size_t limit : {std::size_t{0}, kRunListMax + 1}) {
    EXPECT_EQ(run(runs().removable(at(0), {}, limit)).error().code, Errc::invalid_argument);
    EXPECT_EQ(run(runs().remove_lone_attempts(at(0), limit)).error().code, Errc::invalid_argument);
  }
  EXPECT_EQ(run(runs().remove(std::vector<RunId>(kRunListMax + 1))).error().code, Errc::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Backends, RetentionContract, testing::ValuesIn(backends()), backend_name);

}  // namespace
}  // namespace millrace::test
