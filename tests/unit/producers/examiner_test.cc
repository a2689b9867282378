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
    return rig.run(examiner.examine({.bucket = "b", .key = key}, settling));
  }

  ProducerRig rig;
  OwnOutputs own{rig.loop, rig.outputs, rig.runs};
  PlacedNames placed;
  Examiner examiner{rig.loop, rig.registry, rig.objects, rig.checks, placed, own, rig.seen, rig.ingest, rig.log};
};

TEST_F(ExaminerTest, PublishesANewObjectWithTheVersionThatIsThere) {
  rig.function("f");
  rig.load();
  rig.objects.put("a", "text");
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), ElementsAre("a"));
  EXPECT_EQ(rig.seen.rows[rig.trigger("f").id]["a"], rig.id_of("a"));
}

TEST_F(ExaminerTest, DoesNotEvenLookWhereNoFunctionWantsTheName) {
  rig.function("f", "/in");
  rig.load();
  rig.objects.put("out/a", "text");
  rig.objects.put("in/a.part", "text");
  rig.objects.open_fails = {{"out/a", Errc::unavailable}, {"in/a.part", Errc::unavailable}};
  EXPECT_EQ(examine("out/a").kind, Verdict::Kind::done);
  EXPECT_EQ(examine("in/a.part").kind, Verdict::Kind::done);
}

TEST_F(ExaminerTest, DropsWhatIsGoneOrNoRegularFile) {
  rig.function("f");
  rig.load();
  EXPECT_EQ(examine("gone").kind, Verdict::Kind::done);
  rig.objects.open_fails["folder"] = Errc::failed_precondition;
  EXPECT_EQ(examine("folder").kind, Verdict::Kind::done);
  rig.objects.open_fails["bad name"] = Errc::invalid_argument;
  EXPECT_EQ(examine("bad name").kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
}

TEST_F(ExaminerTest, DropsWhatEveryTriggerHasSeen) {
  rig.function("f");
  rig.function("g");
  rig.load();
  rig.objects.put("a", "text");
  rig.seen_already("f", "a");
  rig.seen_already("g", "a");
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_EQ(rig.checks.checks, 1U);
  rig.seen.rows[rig.trigger("g").id].clear();
  examine("a");
  EXPECT_THAT(rig.taken("g"), ElementsAre("a"));
}

TEST_F(ExaminerTest, DropsWhatWasJustPlacedAfterOneLook) {
  rig.function("f");
  rig.load();
  rig.objects.put("a", "ours");
  placed.remember("b", "a", rig.objects.version("a"));
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_EQ(rig.checks.checks, 0U);
}

TEST_F(ExaminerTest, TakesWhatReplacedAPlacedFile) {
  rig.function("f");
  rig.load();
  rig.objects.put("a", "ours");
  placed.remember("b", "a", rig.objects.version("a"));
  rig.objects.put("a", "a user's");
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), ElementsAre("a"));
}

TEST_F(ExaminerTest, PublishesOnlyToTheFunctionsThatHaveNotSeenTheObject) {
  rig.function("f").settle = seconds(10);
  rig.function("g");
  rig.load();
  rig.objects.put("a", "text");
  rig.seen_already("f", "a");
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_THAT(rig.taken("g"), ElementsAre("a"));
  EXPECT_EQ(rig.seen.rows[rig.trigger("g").id]["a"], rig.id_of("a"));
}

TEST_F(ExaminerTest, TakesOtherContentUnderASeenName) {
  rig.function("f");
  rig.load();
  rig.objects.put("a", "text");
  rig.seen_already("f", "a");
  rig.objects.put("a", "other text");
  examine("a");
  EXPECT_THAT(rig.taken("f"), ElementsAre("a"));
}

TEST_F(ExaminerTest, LeavesAFileToItsWriter) {
  rig.function("f");
  rig.load();
  rig.objects.put("a", "half");
  rig.checks.open_inodes.insert(rig.objects.version("a").inode);
  EXPECT_EQ(examine("a").kind, Verdict::Kind::writer);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
}

TEST_F(ExaminerTest, TakesAFileThatChangesUnderTheLookForBeingWritten) {
  rig.function("f");
  rig.load();
  rig.objects.put("a", "half");
  rig.checks.meanwhile = [&] { rig.objects.modify("a", "and half", 1'000'000'001); };
  EXPECT_EQ(examine("a").kind, Verdict::Kind::writer);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
}

TEST_F(ExaminerTest, WaitsUntilAFileWasLeftAloneAsLongAsTheSlowestFunctionAsks) {
  rig.function("quick");
  rig.function("slow").settle = seconds(10);
  rig.load();
  rig.objects.put("a", "text");
  Verdict verdict = examine("a");
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_EQ(verdict.wait, seconds(10));
  EXPECT_FALSE(verdict.changed);

  rig.loop.run_for(seconds(4));
  verdict = examine("a", verdict.settling);
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_EQ(verdict.wait, seconds(6));

  rig.loop.run_for(seconds(4));
  rig.objects.modify("a", "more text", 1'000'000'009);
  verdict = examine("a", verdict.settling);
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_EQ(verdict.wait, seconds(10));
  EXPECT_TRUE(verdict.changed);

  rig.loop.run_for(milliseconds(9'999));
  verdict = examine("a", verdict.settling);
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_THAT(rig.taken("quick"), IsEmpty());
  rig.loop.run_for(milliseconds(1));
  EXPECT_EQ(examine("a", verdict.settling).kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("quick"), ElementsAre("a"));
  EXPECT_THAT(rig.taken("slow"), ElementsAre("a"));
}

TEST_F(ExaminerTest, WaitsTwoSecondsWhereWritersCannotBeTold) {
  rig.function("f");
  rig.load();
  rig.checks.state = WriteState::unknown;
  rig.objects.put("a", "text");
  const Verdict verdict = examine("a");
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);
  EXPECT_EQ(verdict.wait, kBlindSettle);
  rig.loop.run_for(kBlindSettle);
  EXPECT_EQ(examine("a", verdict.settling).kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), ElementsAre("a"));
}

TEST_F(ExaminerTest, KeepsALongerSettleWhereWritersCannotBeTold) {
  rig.function("f").settle = seconds(30);
  rig.load();
  rig.checks.state = WriteState::unknown;
  rig.objects.put("a", "text");
  EXPECT_EQ(examine("a").wait, seconds(30));
}

TEST_F(ExaminerTest, PublishesAFileThatItMayNotReadSoThatTheRunSaysSo) {
  rig.function("f");
  rig.load();
  rig.objects.put("secret", "text");
  rig.objects.open_fails["secret"] = Errc::permission_denied;
  const Verdict verdict = examine("secret");
  ASSERT_EQ(verdict.kind, Verdict::Kind::settling);  // it may be made readable in a moment
  rig.loop.run_for(kBlindSettle);
  EXPECT_EQ(examine("secret", verdict.settling).kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), ElementsAre("secret"));
}

TEST_F(ExaminerTest, RetriesWhatMayPass) {
  rig.function("f");
  rig.load();
  rig.objects.put("a", "text");
  rig.objects.open_fails["a"] = Errc::unavailable;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::failed);
  rig.objects.open_fails.clear();
  rig.checks.fails = Errc::unavailable;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::failed);
  rig.checks.fails.reset();
  rig.seen.fails = Errc::unavailable;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::failed);
  rig.seen.fails.reset();
  rig.outputs.fails = Errc::unavailable;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::failed);
  rig.outputs.fails.reset();
  rig.broker.fails = Errc::no_space;
  const Verdict verdict = examine("a");
  EXPECT_EQ(verdict.kind, Verdict::Kind::failed);
  EXPECT_EQ(verdict.error.code, Errc::no_space);
  EXPECT_TRUE(rig.seen.rows[rig.trigger("f").id].empty());
  rig.broker.fails.reset();
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), ElementsAre("a"));
}

TEST_F(ExaminerTest, GivesUpUntilTheNextScanWhatCannotPass) {
  rig.function("f");
  rig.load();
  rig.objects.put("a", "text");
  rig.broker.fails = Errc::too_large;
  EXPECT_EQ(examine("a").kind, Verdict::Kind::done);
  EXPECT_TRUE(rig.seen.rows[rig.trigger("f").id].empty());
}

TEST_F(ExaminerTest, SettlesWhereTheCheckIsNotThere) {
  rig.function("f");
  rig.load();
  rig.objects.put("a", "text");
  rig.checks.fails = Errc::unimplemented;
  EXPECT_EQ(examine("a").wait, kBlindSettle);
}

class OwnOutputTest : public ExaminerTest {
 protected:
  // The object is what run "r" placed.
  void placed(const std::string& key, bool published) {
    rig.objects.put(key, "result");
    rig.outputs.marks[key] = RunId("r");
    auto& record = rig.runs.records[RunId("r")];
    record.run_id = RunId("r");
    record.published = published;
    OutputFile output;
    output.bucket = "b";
    output.key = key;
    output.placed = rig.objects.version(key);
    record.outputs.push_back(std::move(output));
  }
};

TEST_F(OwnOutputTest, IsNotTakenAndItsRowLeftToWhoeverFinishesTheRun) {
  rig.function("f");
  rig.load();
  placed("out", false);
  EXPECT_EQ(examine("out").kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_TRUE(rig.seen.rows[rig.trigger("f").id].empty());
}

TEST_F(OwnOutputTest, GetsItsRowWhereTheRunIsFinished) {
  rig.function("f");
  rig.function("g");
  rig.load();
  placed("out", true);
  examine("out");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_EQ(rig.seen.rows[rig.trigger("f").id]["out"], rig.id_of("out"));
  EXPECT_EQ(rig.seen.rows[rig.trigger("g").id]["out"], rig.id_of("out"));
}

// Else a mark of the next run's result, looked for in vain among what that run placed, made the result a user's.
TEST_F(OwnOutputTest, IsLeftToTheNextLookWhenAnotherTookItsNameBetweenTheLooks) {
  rig.function("f");
  rig.load();
  placed("out", false);
  rig.outputs.fails = Errc::not_found;
  EXPECT_EQ(examine("out").kind, Verdict::Kind::done);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
}

TEST_F(OwnOutputTest, IsTakenAsACopy) {
  rig.function("f");
  rig.load();
  placed("out", true);
  rig.objects.put("copy", "result");
  rig.outputs.marks["copy"] = RunId("r");
  examine("copy");
  EXPECT_THAT(rig.taken("f"), ElementsAre("copy"));
}

TEST_F(OwnOutputTest, IsTakenOnceAUserChangedIt) {
  rig.function("f");
  rig.load();
  placed("out", true);
  rig.objects.modify("out", "changed", 1'000'000'005);
  examine("out");
  EXPECT_THAT(rig.taken("f"), ElementsAre("out"));
}

TEST_F(OwnOutputTest, IsTakenWhereNobodyKnowsTheRun) {
  rig.function("f");
  rig.load();
  rig.objects.put("out", "result");
  rig.outputs.marks["out"] = RunId("of another installation");
  examine("out");
  EXPECT_THAT(rig.taken("f"), ElementsAre("out"));
}

TEST_F(OwnOutputTest, WaitsForARowThatCannotBeRead) {
  rig.function("f");
  rig.load();
  placed("out", true);
  rig.runs.fails = Errc::unavailable;
  EXPECT_EQ(examine("out").kind, Verdict::Kind::failed);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
}

TEST_F(OwnOutputTest, OfOneRunReadsItsRowOnce) {
  rig.function("f");
  rig.load();
  for (int i = 0; i < 100; ++i) placed(std::to_string(i), false);
  for (int i = 0; i < 100; ++i) examine(std::to_string(i));
  EXPECT_EQ(rig.runs.gets, 1U);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
}

TEST_F(OwnOutputTest, KeepsTheRowsOfTheLastFewRuns) {
  rig.function("f");
  rig.load();
  for (int i = 0; i < 40; ++i) {
    const std::string key = std::to_string(i);
    rig.objects.put(key, "result");
    rig.outputs.marks[key] = RunId(key);
    rig.runs.records[RunId(key)].run_id = RunId(key);
    examine(key);
  }
  EXPECT_EQ(rig.runs.gets, 40U);
  rig.seen.rows.clear();
  examine("39");
  EXPECT_EQ(rig.runs.gets, 40U);
  examine("0");
  EXPECT_EQ(rig.runs.gets, 41U);
}

}  // namespace
}  // namespace millrace::test
