#include "producers/examiner.h"

#include <gmock/gmock.h>

#include "tests/unit/producers/producer_rig.h"

namespace millrace::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ExaminerTest : public ::testing::Test {
 protected:
  Verdict examine(const std::string& key, std::optional<Settling> settling = {}) {
    return rig_.run(examiner_.examine({.bucket = "b", .key = key}, settling));
  }

  ProducerRig rig_;
  OwnOutputs own_{rig_.loop, rig_.outputs, rig_.runs};
  PlacedNames placed_;
  Examiner examiner_{rig_.loop, rig_.registry, rig_.objects, rig_.checks, placed_,
                     own_,      rig_.seen,     rig_.ingest,  rig_.log};
};

TEST_F(ExaminerTest, PublishesANewObjectWithTheVersionThatIsThere) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("a", "text");
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), ElementsAre("a"));
  EXPECT_EQ(rig_.seen.rows[rig_.trigger("f").id]["a"], rig_.id_of("a"));
}

TEST_F(ExaminerTest, DoesNotEvenLookWhereNoFunctionWantsTheName) {
  rig_.function("f", "/in");
  rig_.load();
  rig_.objects.put("out/a", "text");
  rig_.objects.put("in/a.part", "text");
  rig_.objects.open_fails = {{"out/a", Errc::unavailable}, {"in/a.part", Errc::unavailable}};
  EXPECT_EQ(examine("out/a").kind, Verdict::Kind::done);
  EXPECT_EQ(examine("in/a.part").kind, Verdict::Kind::done);
}

TEST_F(ExaminerTest, DropsWhatIsGoneOrNoRegularFile) {
  rig_.function("f");
  rig_.load();
  EXPECT_EQ(examine("gone").kind, Verdict::Kind::done);
  rig_.objects.open_fails["folder"] = Errc::failed_precondition;
  EXPECT_EQ(examine("folder").kind, Verdict::Kind::done);
  rig_.objects.open_fails["bad name"] = Errc::invalid_argument;
  EXPECT_EQ(examine("bad name").kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
}

TEST_F(ExaminerTest, DropsWhatEveryTriggerHasSeen) {
  rig_.function("f");
  rig_.function("g");
  rig_.load();
  rig_.objects.put("a", "text");
  rig_.seen_already("f", "a");
  rig_.seen_already("g", "a");
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
  EXPECT_EQ(rig_.checks.checks, 1U);
  rig_.seen.rows[rig_.trigger("g").id].clear();
  examine("a");
  EXPECT_THAT(rig_.taken("g"), ElementsAre("a"));
}

TEST_F(ExaminerTest, DropsWhatWasJustPlacedAfterOneLook) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("a", "ours");
  placed_.remember("b", "a", rig_.objects.version("a"));
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
  EXPECT_EQ(rig_.checks.checks, 0U);
}

TEST_F(ExaminerTest, TakesWhatReplacedAPlacedFile) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("a", "ours");
  placed_.remember("b", "a", rig_.objects.version("a"));
  rig_.objects.put("a", "a user's");
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), ElementsAre("a"));
}

TEST_F(ExaminerTest, PublishesOnlyToTheFunctionsThatHaveNotSeenTheObject) {
  rig_.function("f").settle = seconds(10);
  rig_.function("g");
  rig_.load();
  rig_.objects.put("a", "text");
  rig_.seen_already("f", "a");
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
  EXPECT_THAT(rig_.taken("g"), ElementsAre("a"));
  EXPECT_EQ(rig_.seen.rows[rig_.trigger("g").id]["a"], rig_.id_of("a"));
}

TEST_F(ExaminerTest, TakesOtherContentUnderASeenName) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("a", "text");
  rig_.seen_already("f", "a");
  rig_.objects.put("a", "other text");
  examine("a");
  EXPECT_THAT(rig_.taken("f"), ElementsAre("a"));
}

TEST_F(ExaminerTest, LeavesAFileToItsWriter) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("a", "half");
  rig_.checks.open_inodes.insert(rig_.objects.version("a").inode);
  EXPECT_EQ(examine("a").kind, Verdict::Kind::writer);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
}

TEST_F(ExaminerTest, TakesAFileThatChangesUnderTheLookForBeingWritten) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("a", "half");
  rig_.checks.meanwhile = [&] { rig_.objects.modify("a", "and half", 1'000'000'001); };
  EXPECT_EQ(examine("a").kind, Verdict::Kind::writer);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
}

TEST_F(ExaminerTest, WaitsUntilAFileWasLeftAloneAsLongAsTheSlowestFunctionAsks) {
  rig_.function("quick");
  rig_.function("slow").settle = seconds(10);
  rig_.load();
  rig_.objects.put("a", "text");
  Verdict verdict = examine("a");
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_EQ(verdict.wait, seconds(10));
  EXPECT_FALSE(verdict.changed);

  rig_.loop.run_for(seconds(4));
  verdict = examine("a", verdict.settling);
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_EQ(verdict.wait, seconds(6));

  rig_.loop.run_for(seconds(4));
  rig_.objects.modify("a", "more text", 1'000'000'009);
  verdict = examine("a", verdict.settling);
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_EQ(verdict.wait, seconds(10));
  EXPECT_TRUE(verdict.changed);

  rig_.loop.run_for(milliseconds(9'999));
  verdict = examine("a", verdict.settling);
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_THAT(rig_.taken("quick"), IsEmpty());
  rig_.loop.run_for(milliseconds(1));
  EXPECT_EQ(examine("a", verdict.settling).kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("quick"), ElementsAre("a"));
  EXPECT_THAT(rig_.taken("slow"), ElementsAre("a"));
}

TEST_F(ExaminerTest, WaitsTwoSecondsWhereWritersCannotBeTold) {
  rig_.function("f");
  rig_.load();
  rig_.checks.state = WriteState::unknown;
  rig_.objects.put("a", "text");
  const Verdict verdict = examine("a");
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_EQ(verdict.wait, kBlindSettle);
  rig_.loop.run_for(kBlindSettle);
  EXPECT_EQ(examine("a", verdict.settling).kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), ElementsAre("a"));
}

TEST_F(ExaminerTest, KeepsALongerSettleWhereWritersCannotBeTold) {
  rig_.function("f").settle = seconds(30);
  rig_.load();
  rig_.checks.state = WriteState::unknown;
  rig_.objects.put("a", "text");
  EXPECT_EQ(examine("a").wait, seconds(30));
}

TEST_F(ExaminerTest, PublishesAFileThatItMayNotReadSoThatTheRunSaysSo) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("secret", "text");
  rig_.objects.open_fails["secret"] = Errc::permission_denied;
  const Verdict verdict = examine("secret");
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);  // it may be made readable in a moment
  rig_.loop.run_for(kBlindSettle);
  EXPECT_EQ(examine("secret", verdict.settling).kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), ElementsAre("secret"));
}

TEST_F(ExaminerTest, RetriesWhatMayPass) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("a", "text");
  rig_.objects.open_fails["a"] = Errc::unavailable;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::failed);
  rig_.objects.open_fails.clear();
  rig_.checks.fails = Errc::unavailable;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::failed);
  rig_.checks.fails.reset();
  rig_.seen.fails = Errc::unavailable;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::failed);
  rig_.seen.fails.reset();
  rig_.outputs.fails = Errc::unavailable;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::failed);
  rig_.outputs.fails.reset();
  rig_.broker.fails = Errc::no_space;
  const Verdict verdict = examine("a");
  EXPECT_EQ(verdict.kind, Verdict::Kind::failed);
  EXPECT_EQ(verdict.error.code, Errc::no_space);
  EXPECT_TRUE(rig_.seen.rows[rig_.trigger("f").id].empty());
  rig_.broker.fails.reset();
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), ElementsAre("a"));
}

TEST_F(ExaminerTest, GivesUpUntilTheNextScanWhatCannotPass) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("a", "text");
  rig_.broker.fails = Errc::too_large;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_TRUE(rig_.seen.rows[rig_.trigger("f").id].empty());
}

TEST_F(ExaminerTest, SettlesWhereTheCheckIsNotThere) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("a", "text");
  rig_.checks.fails = Errc::unimplemented;
  EXPECT_EQ(examine("a").wait, kBlindSettle);
}

class OwnOutputTest : public ExaminerTest {
 protected:
  // The object is what run "r" placed.
  void placed(const std::string& key, bool published) {
    rig_.objects.put(key, "result");
    rig_.outputs.marks[key] = RunId("r");
    auto& record = rig_.runs.records[RunId("r")];
    record.run_id = RunId("r");
    record.published = published;
    OutputFile output;
    output.bucket = "b";
    output.key = key;
    output.placed = rig_.objects.version(key);
    record.outputs.push_back(std::move(output));
  }
};

TEST_F(OwnOutputTest, IsNotTakenAndItsRowLeftToWhoeverFinishesTheRun) {
  rig_.function("f");
  rig_.load();
  placed("out", false);
  EXPECT_EQ(examine("out").kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
  EXPECT_TRUE(rig_.seen.rows[rig_.trigger("f").id].empty());
}

TEST_F(OwnOutputTest, GetsItsRowWhereTheRunIsFinished) {
  rig_.function("f");
  rig_.function("g");
  rig_.load();
  placed("out", true);
  examine("out");
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
  EXPECT_EQ(rig_.seen.rows[rig_.trigger("f").id]["out"], rig_.id_of("out"));
  EXPECT_EQ(rig_.seen.rows[rig_.trigger("g").id]["out"], rig_.id_of("out"));
}

// Else a mark of the next run's result, looked for in vain among what that run placed, made the result a user's.
TEST_F(OwnOutputTest, IsLeftToTheNextLookWhenAnotherTookItsNameBetweenTheLooks) {
  rig_.function("f");
  rig_.load();
  placed("out", false);
  rig_.outputs.fails = Errc::not_found;
  EXPECT_EQ(examine("out").kind, Verdict::Kind::done);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
}

TEST_F(OwnOutputTest, IsTakenAsACopy) {
  rig_.function("f");
  rig_.load();
  placed("out", true);
  rig_.objects.put("copy", "result");
  rig_.outputs.marks["copy"] = RunId("r");
  examine("copy");
  EXPECT_THAT(rig_.taken("f"), ElementsAre("copy"));
}

TEST_F(OwnOutputTest, IsTakenOnceAUserChangedIt) {
  rig_.function("f");
  rig_.load();
  placed("out", true);
  rig_.objects.modify("out", "changed", 1'000'000'005);
  examine("out");
  EXPECT_THAT(rig_.taken("f"), ElementsAre("out"));
}

TEST_F(OwnOutputTest, IsTakenWhereNobodyKnowsTheRun) {
  rig_.function("f");
  rig_.load();
  rig_.objects.put("out", "result");
  rig_.outputs.marks["out"] = RunId("of another installation");
  examine("out");
  EXPECT_THAT(rig_.taken("f"), ElementsAre("out"));
}

TEST_F(OwnOutputTest, WaitsForARowThatCannotBeRead) {
  rig_.function("f");
  rig_.load();
  placed("out", true);
  rig_.runs.fails = Errc::unavailable;
  EXPECT_EQ(examine("out").kind, Verdict::Kind::failed);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
}

TEST_F(OwnOutputTest, OfOneRunReadsItsRowOnce) {
  rig_.function("f");
  rig_.load();
  for (int i = 0; i < 100; ++i) placed(std::to_string(i), false);
  for (int i = 0; i < 100; ++i) examine(std::to_string(i));
  EXPECT_EQ(rig_.runs.gets, 1U);
  EXPECT_THAT(rig_.taken("f"), IsEmpty());
}

TEST_F(OwnOutputTest, KeepsTheRowsOfTheLastFewRuns) {
  rig_.function("f");
  rig_.load();
  for (int i = 0; i < 40; ++i) {
    const std::string key = std::to_string(i);
    rig_.objects.put(key, "result");
    rig_.outputs.marks[key] = RunId(key);
    rig_.runs.records[RunId(key)].run_id = RunId(key);
    examine(key);
  }
  EXPECT_EQ(rig_.runs.gets, 40U);
  rig_.seen.rows.clear();
  examine("39");
  EXPECT_EQ(rig_.runs.gets, 40U);
  examine("0");
  EXPECT_EQ(rig_.runs.gets, 41U);
}

}  // namespace
}  // namespace millrace::test
