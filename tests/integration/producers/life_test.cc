// Functions that come and go, daemons that stop and start, brokers that are away, and exact drains.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>

#include "tests/integration/producers/watch_rig.h"

namespace millrace::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;
namespace files = std::filesystem;

TEST(FsWatch, RunsNothingThatWasThereBeforeTheFunction) {
  WatchRig rig;
  rig.write("b/old");
  rig.write("b/folder/old");
  rig.write("b/folder/old.part");
  rig.apply("f", "b");
  EXPECT_THAT(rig.rows("f"), ElementsAre(Key("folder/old"), Key("folder/old.part"), Key("old")));
  rig.write("b/folder/new");
  EXPECT_THAT(rig.taken("f"), ElementsAre("folder/new"));
  // Opened for writing and closed as it was: still the same object.
  {
    const Fd reopened(::open(rig.path("b/old").c_str(), O_RDWR | O_CLOEXEC));
  }
  EXPECT_THAT(rig.taken("f"), ElementsAre("folder/new"));
}

TEST(FsWatch, RunsWhatWasStillBeingWrittenAtApply) {
  WatchRig rig;
  Fd writer = rig.open_to_write("b/slow");
  ASSERT_EQ(::write(writer.get(), "all of it", 9), 9);
  rig.apply("f", "b");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  writer.reset();  // without another write: size and time stay
  EXPECT_THAT(rig.taken("f"), ElementsAre("slow"));
}

// The listing finds it, too; without a broker it is not published before the rows are written.
TEST(FsWatch, RunsWhatCameWhileTheExistingFilesWereListed) {
  FsWatch::Options options;
  options.first_fill.page = 1;
  WatchRig rig(options);
  rig.write("b/a");
  rig.write("b/b");  // for a page after the one that is being looked at
  rig.broker->away = true;
  rig.checks.at_next = [&] { rig.write("b/came-meanwhile"); };
  rig.apply("f", "b");
  EXPECT_THAT(rig.rows("f"), ElementsAre(Key("a"), Key("b")));
  rig.broker->away = false;
  EXPECT_THAT(rig.taken("f"), ElementsAre("came-meanwhile"));
}

// Published before the fill: its row is not lost with those that the fill replaces.
TEST(FsWatch, KeepsTheRowOfWhatRanWhileTheExistingFilesWereListed) {
  FsWatch::Options options;
  options.first_fill.page = 1;
  WatchRig rig(options);
  rig.write("b/a");
  rig.write("b/b");
  rig.checks.at_next = [&] { rig.write("b/came-meanwhile"); };
  rig.apply("f", "b");
  EXPECT_THAT(rig.taken("f"), ElementsAre("came-meanwhile"));
  EXPECT_THAT(rig.rows("f"), ElementsAre(Key("a"), Key("b"), Key("came-meanwhile")));
}

// A writer that opened it by another name: its close is not notified.
TEST(FsWatch, LooksAgainAtWhatWasStillBeingWrittenAtApply) {
  WatchRig rig;
  rig.write("b/file");
  rig.checks.next_is_writer = true;
  rig.apply("f", "b");
  EXPECT_THAT(rig.taken("f"), ElementsAre("file"));
}

TEST(FsWatch, ASecondFunctionDoesNotRunWhatTheFirstOneDid) {
  WatchRig rig;
  rig.apply("first", "b");
  rig.write("b/file");
  EXPECT_THAT(rig.taken("first"), ElementsAre("file"));
  rig.apply("second", "b");
  EXPECT_THAT(rig.taken("second"), IsEmpty());
  rig.write("b/next");
  EXPECT_THAT(rig.taken("first"), ElementsAre("file", "next"));
  EXPECT_THAT(rig.taken("second"), ElementsAre("next"));
}

TEST(FsWatch, AnUpdateKeepsWhatWasSeen) {
  WatchRig rig;
  rig.write("b/old");
  rig.apply("f", "b");
  rig.write("b/ran");
  EXPECT_THAT(rig.taken("f"), ElementsAre("ran"));
  rig.apply("f", "b", [](FunctionSpec& spec) { spec.ignore = {"*.x"}; });
  EXPECT_THAT(rig.rows("f"), ElementsAre(Key("old"), Key("ran")));
  rig.write("b/ignored.x");
  rig.write("b/.hidden");
  EXPECT_THAT(rig.taken("f"), ElementsAre(".hidden", "ran"));
}

TEST(FsWatch, AnUpdateToAnotherPathLeavesTheOldOne) {
  WatchRig rig;
  rig.apply("f", "b/one");
  rig.write("b/one/a");
  EXPECT_THAT(rig.taken("f"), ElementsAre("one/a"));
  rig.write("b/two/old");
  rig.apply("f", "b/two");
  EXPECT_EQ(rig.gauge("millrace_watches"), 2);  // the bucket and two/
  rig.write("b/one/b");
  rig.write("b/two/new");
  EXPECT_THAT(rig.taken("f"), ElementsAre("one/a", "two/new"));
}

TEST(FsWatch, ARemovedFunctionLeavesNoWatchesAndNoRows) {
  WatchRig rig;
  rig.apply("gone", "b/in");
  rig.apply("stays", "b/in/deep");
  rig.write("b/in/deep/file");
  rig.folder("b/in/other");
  EXPECT_THAT(rig.taken("gone"), ElementsAre("in/deep/file"));
  EXPECT_EQ(rig.gauge("millrace_watches"), 4);
  const auto trigger = rig.trigger("gone");
  rig.remove("gone");
  EXPECT_EQ(rig.gauge("millrace_watches"), 3);
  EXPECT_THAT(*run_task(rig.loop, rig.state->seen().all(trigger)), IsEmpty());
  EXPECT_FALSE(*run_task(rig.loop, rig.state->seen().filled(trigger)));
  rig.write("b/in/other/file");
  rig.write("b/in/deep/next");
  EXPECT_THAT(rig.taken("stays"), ElementsAre("in/deep/file", "in/deep/next"));
  EXPECT_THAT(rig.taken("gone"), ElementsAre("in/deep/file"));
  rig.remove("stays");
  EXPECT_EQ(rig.gauge("millrace_watches"), 0);
}

TEST(FsWatch, WhatCameWhileTheDaemonWasDownRunsOnce) {
  WatchRig rig;
  rig.write("b/old");
  rig.apply("f", "b");
  rig.write("b/ran");
  rig.write("b/deleted");
  EXPECT_THAT(rig.taken("f"), ElementsAre("deleted", "ran"));
  rig.stop();
  rig.write("b/new/deep/file");
  rig.write("b/ran", "with other content");
  files::remove(rig.path("b/deleted"));
  rig.start();
  EXPECT_THAT(rig.taken("f"), ElementsAre("deleted", "new/deep/file", "ran", "ran"));
  rig.stop();
  rig.start();
  EXPECT_THAT(rig.taken("f"), ElementsAre("deleted", "new/deep/file", "ran", "ran"));
  EXPECT_THAT(rig.rows("f"), ElementsAre(Key("new/deep/file"), Key("old"), Key("ran")));
}

TEST(FsWatch, AFileStillOpenWhenTheDaemonStopsRunsAfterItsClose) {
  WatchRig rig;
  rig.apply("f", "b");
  Fd writer = rig.open_to_write("b/slow");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  rig.stop();
  rig.start();
  EXPECT_THAT(rig.taken("f"), IsEmpty());  // found by the scan, and left to its writer
  writer.reset();
  EXPECT_THAT(rig.taken("f"), ElementsAre("slow"));
}

TEST(FsWatch, AFillThatWasCutOffStartsAgain) {
  WatchRig rig;
  rig.write("b/old");
  rig.apply("f", "b");
  const auto trigger = rig.trigger("f");
  rig.stop();
  // As a daemon leaves it that died while it listed: no rows, not filled.
  ASSERT_TRUE(run_task(rig.loop, rig.state->seen().drop(trigger)));
  rig.start();
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_THAT(rig.rows("f"), ElementsAre(Key("old")));
}

TEST(FsWatch, RunsWhatCameAfterAFirstTryThatFailed) {
  WatchRig rig;
  rig.folder("b");
  rig.write("b/old");
  rig.checks.next_error = Error{.code = Errc::unavailable, .message = "the launcher is away"};
  ASSERT_FALSE(rig.try_apply("f", "b"));
  rig.broker->away = true;
  rig.write("b/new");
  EXPECT_FALSE(rig.drain()) << "noticed, and not published yet";
  rig.broker->away = false;
  rig.apply("f", "b");
  EXPECT_THAT(rig.taken("f"), ElementsAre("new"));
  EXPECT_THAT(rig.rows("f"), ElementsAre(Key("new"), Key("old")));
}

TEST(FsWatch, KeepsWhatTheBrokerDidNotTakeAndSaysSo) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.broker->away = true;
  rig.write("b/file");
  const auto drained = rig.drain();
  ASSERT_FALSE(drained);
  EXPECT_EQ(drained.error().code, Errc::unavailable);
  EXPECT_THAT(rig.rows("f"), IsEmpty());
  rig.broker->away = false;
  EXPECT_THAT(rig.taken("f"), ElementsAre("file"));
}

TEST(FsWatch, TakesEverythingThroughANarrowDoor) {
  FsWatch::Options options;
  options.candidates.candidates_max = 3;
  options.candidates.concurrent_max = 2;
  WatchRig rig(options);
  rig.apply("f", "b");
  std::vector<std::string> expected;
  for (int i = 0; i < 300; ++i) {
    expected.push_back(std::to_string(1000 + i));
    rig.write("b/" + expected.back());
  }
  EXPECT_EQ(rig.taken("f"), expected);
}

TEST(FsWatch, DrainIsExact) {
  WatchRig rig;
  rig.apply("f", "b");
  std::vector<std::string> expected;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 200; ++i) {
      const std::string number = std::to_string(1000 + round * 200 + i);
      expected.push_back(i % 4 == 0 ? number + "/deep/file" : number);
      rig.write("b/" + expected.back());
    }
    EXPECT_EQ(rig.taken("f"), expected);
    EXPECT_EQ(rig.rows("f").size(), expected.size());
  }
}

}  // namespace
}  // namespace millrace::test
