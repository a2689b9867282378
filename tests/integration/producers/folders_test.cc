// Folders that come, go and move, and notifications that are lost.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>

#include "async/sleep.h"
#include "tests/integration/producers/watch_rig.h"

namespace millrace::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
namespace files = std::filesystem;
using std::chrono::milliseconds;

// Until `done`, looking again and again; a bound against hanging, not an expectation.
Task<bool> eventually(EventLoop& loop, std::function<bool()> done) {
  for (int i = 0; i < 3'000 && !done(); ++i) {
    const auto slept = co_await sleep_for(loop, milliseconds(10));
    if (!slept) break;
  }
  co_return done();
}

Task<bool> drained_at_last(EventLoop& loop, Registry& registry) {
  for (int i = 0; i < 3'000; ++i) {
    const auto drained = co_await registry.drain();
    if (drained) co_return true;
    const auto slept = co_await sleep_for(loop, milliseconds(10));
    if (!slept) break;
  }
  co_return false;
}

TEST(FsWatch, TakesFilesInFoldersMadeAMomentBefore) {
  WatchRig rig;
  rig.apply("f", "b");
  std::vector<std::string> expected;
  for (int i = 0; i < 50; ++i) {
    const std::string key = std::to_string(100 + i) + "/x/y/file";
    rig.write("b/" + key);
    expected.push_back(key);
  }
  EXPECT_EQ(rig.taken("f"), expected);
  EXPECT_EQ(rig.gauge("millrace_watches"), 1 + 3 * 50);
}

TEST(FsWatch, TakesWhatIsInAFolderThatMovesIn) {
  WatchRig rig;
  rig.apply("f", "b/in");
  rig.write("elsewhere/tree/a");
  rig.write("elsewhere/tree/deep/b");
  rig.folder("b/in");
  files::rename(rig.path("elsewhere/tree"), rig.path("b/in/tree"));
  EXPECT_THAT(rig.taken("f"), ElementsAre("in/tree/a", "in/tree/deep/b"));
  rig.write("b/in/tree/deep/c");
  EXPECT_THAT(rig.taken("f"), ElementsAre("in/tree/a", "in/tree/deep/b", "in/tree/deep/c"));
}

TEST(FsWatch, FollowsAFolderThatIsRenamed) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.write("b/old/deep/a");
  EXPECT_THAT(rig.taken("f"), ElementsAre("old/deep/a"));
  files::rename(rig.path("b/old"), rig.path("b/new"));
  rig.write("b/new/deep/b");
  EXPECT_THAT(rig.taken("f"), ElementsAre("new/deep/a", "new/deep/b", "old/deep/a"));
  rig.write("b/new/deep/c");
  EXPECT_THAT(rig.taken("f"), ElementsAre("new/deep/a", "new/deep/b", "new/deep/c", "old/deep/a"));
  EXPECT_EQ(rig.gauge("millrace_watches"), 3);
}

TEST(FsWatch, KeepsNamesRightWhenFoldersChangePlaces) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.folder("b/one");
  rig.folder("b/two");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  files::rename(rig.path("b/one"), rig.path("b/three"));
  files::rename(rig.path("b/two"), rig.path("b/one"));
  files::rename(rig.path("b/three"), rig.path("b/two"));
  rig.write("b/one/was-two");
  rig.write("b/two/was-one");
  EXPECT_THAT(rig.taken("f"), ElementsAre("one/was-two", "two/was-one"));
}

TEST(FsWatch, StopsWatchingAFolderThatMovesOutOrIsDeleted) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.folder("b/out/deep");
  rig.folder("b/deleted/deep");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_EQ(rig.gauge("millrace_watches"), 5);
  rig.folder("elsewhere");
  files::rename(rig.path("b/out"), rig.path("elsewhere/out"));
  files::remove_all(rig.path("b/deleted"));
  rig.write("elsewhere/out/deep/file");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_THAT(rig.taken("f"), IsEmpty());  // the ends of the watches were queued by the first one
  EXPECT_EQ(rig.gauge("millrace_watches"), 1);
}

TEST(FsWatch, WaitsForAnInputFolderThatIsNotThereYet) {
  WatchRig rig;
  rig.apply("f", "b/in/deep");
  rig.write("b/other/file");
  rig.write("b/in/file");
  rig.write("b/in/deeper/file");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_EQ(rig.gauge("millrace_watches"), 2);  // the bucket and in/
  rig.write("b/in/deep/file");
  EXPECT_THAT(rig.taken("f"), ElementsAre("in/deep/file"));
}

TEST(FsWatch, FindsByAScanWhatAnOverflowLost) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.write("b/old/file");
  rig.folder("b/moving");
  EXPECT_THAT(rig.taken("f"), ElementsAre("old/file"));
  rig.write("b/new/deep/file");
  rig.write("b/lost");
  files::rename(rig.path("b/moving"), rig.path("b/moved"));
  files::remove(rig.path("b/old/file"));
  files::remove(rig.path("b/old"));
  rig.source->lose = true;
  EXPECT_THAT(rig.taken("f"), ElementsAre("lost", "new/deep/file", "old/file"));
  EXPECT_EQ(rig.counter("millrace_watch_overflows_total"), 1U);
  EXPECT_THAT(rig.rows("f"), ElementsAre(::testing::Key("lost"), ::testing::Key("new/deep/file")));
  // The tree was walked anew: what had moved is watched under its new name.
  rig.write("b/moved/file");
  rig.write("b/new/deep/second");
  EXPECT_THAT(rig.taken("f"), ElementsAre("lost", "moved/file", "new/deep/file", "new/deep/second", "old/file"));
  EXPECT_EQ(rig.gauge("millrace_watches"), 4);
}

TEST(FsWatch, SaysWhichLimitOfFoldersIsReached) {
  WatchRig rig({.watches_max = 3, .repair_every = milliseconds(20)});
  rig.folder("b/one/two/three");
  const auto applied = rig.try_apply("f", "b");
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::resource_exhausted);
  EXPECT_THAT(applied.error().message, ::testing::HasSubstr("watches_max (3)"));
  EXPECT_FALSE(rig.drain());
  // It is tried again without anybody asking.
  files::remove(rig.path("b/one/two/three"));
  EXPECT_TRUE(run_task(rig.loop, drained_at_last(rig.loop, rig.registry())));
  rig.write("b/one/two/file");
  EXPECT_THAT(rig.taken("f"), ElementsAre("one/two/file"));
}

TEST(FsWatch, FindsABucketAgainThatWasReplaced) {
  WatchRig rig({.repair_every = milliseconds(20)});
  rig.apply("f", "b");
  rig.write("b/before");
  EXPECT_THAT(rig.taken("f"), ElementsAre("before"));
  files::rename(rig.path("b"), rig.path("elsewhere"));
  rig.write("b/after");
  const bool found =
      run_task(rig.loop, eventually(rig.loop, [&] { return rig.broker->accepted[work_topic("f")].size() == 2; }));
  EXPECT_TRUE(found);
  rig.write("b/later");
  EXPECT_THAT(rig.taken("f"), ElementsAre("after", "before", "later"));
}

}  // namespace
}  // namespace millrace::test
