// What is taken, and what is not.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/integration/producers/watch_rig.h"

namespace millrace::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
namespace files = std::filesystem;

// A name for an open O_TMPFILE file, as those make it who want a file to appear whole.
void link_open_file(int fd, const std::string& path) {
  const std::string self = "/proc/self/fd/" + std::to_string(fd);
  ASSERT_EQ(::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW), 0) << path;
}

TEST(FsWatch, TakesFilesHoweverTheyAppear) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.write("elsewhere/moved", "1");
  rig.write("elsewhere/linked", "2");
  rig.write("b/written", "3");
  files::rename(rig.path("elsewhere/moved"), rig.path("b/moved"));
  files::create_hard_link(rig.path("elsewhere/linked"), rig.path("b/linked"));
  {
    const Fd unnamed(::open(rig.path("b").c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0644));
    ASSERT_TRUE(unnamed);
    ASSERT_EQ(::write(unnamed.get(), "4", 1), 1);
    link_open_file(unnamed.get(), rig.path("b/appeared"));
  }
  {
    const Fd empty = rig.open_to_write("b/empty");
  }
  EXPECT_THAT(rig.taken("f"), ElementsAre("appeared", "empty", "linked", "moved", "written"));
}

TEST(FsWatch, LeavesAFileToItsWriterUntilTheClose) {
  WatchRig rig;
  rig.apply("f", "b");
  Fd writer = rig.open_to_write("b/slow");
  ASSERT_EQ(::write(writer.get(), "half", 4), 4);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_EQ(rig.gauge("millrace_watch_candidates"), 1);
  ASSERT_EQ(::write(writer.get(), "whole", 5), 5);
  writer.reset();
  EXPECT_THAT(rig.taken("f"), ElementsAre("slow"));
  EXPECT_EQ(rig.broker->accepted[work_topic("f")].at(0).object->version.size_bytes, 9U);
  EXPECT_EQ(rig.gauge("millrace_watch_candidates"), 0);
}

// The close of a descriptor that was opened without this name, or by another one, is not notified here.
TEST(FsWatch, TakesALinkedFileWhoseWriterClosesItByAnotherName) {
  WatchRig rig;
  rig.apply("f", "b");
  Fd writer = rig.open_to_write("elsewhere/file");
  files::create_hard_link(rig.path("elsewhere/file"), rig.path("b/file"));
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  writer.reset();
  EXPECT_THAT(rig.taken("f"), ElementsAre("file"));
}

TEST(FsWatch, TakesEachClosedContentOfAReopenedFileOnce) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.write("b/file", "first");
  EXPECT_THAT(rig.taken("f"), ElementsAre("file"));
  {
    const Fd reopened(::open(rig.path("b/file").c_str(), O_RDWR | O_CLOEXEC));
  }
  EXPECT_THAT(rig.taken("f"), ElementsAre("file"));
  rig.write("b/file", "the second");
  EXPECT_THAT(rig.taken("f"), ElementsAre("file", "file"));
}

TEST(FsWatch, IgnoresWhatTheFunctionIgnores) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.apply("all", "b", [](FunctionSpec& spec) { spec.ignore.clear(); });
  for (const char* name : {"b/.hidden", "b/a.part", "b/a.tmp", "b/a~", "b/.folder/seen", "b/a.txt"}) rig.write(name);
  EXPECT_THAT(rig.taken("f"), ElementsAre(".folder/seen", "a.txt"));
  EXPECT_THAT(rig.taken("all"), ElementsAre(".folder/seen", ".hidden", "a.part", "a.tmp", "a.txt", "a~"));
  files::rename(rig.path("b/a.part"), rig.path("b/whole"));
  EXPECT_THAT(rig.taken("f"), ElementsAre(".folder/seen", "a.txt", "whole"));
}

TEST(FsWatch, TakesAnyNameThatAFileMayHave) {
  WatchRig rig;
  rig.apply("f", "b");
  const std::vector<std::string> names = {"-rf",    "a b", "line\nbreak", "\xc3\xa4\xe2\x82\xac", "\xff\xfe",
                                          "q\"'`$", "*",   "\x01\x7f",    std::string(255, 'n'),  "-d/-f"};
  for (const auto& name : names) rig.write("b/" + name);
  auto expected = names;
  std::ranges::sort(expected);
  EXPECT_EQ(rig.taken("f"), expected);
}

TEST(FsWatch, FollowsNoLinkAndTakesNoSpecialFile) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.write("elsewhere/folder/file");
  files::create_symlink(rig.path("elsewhere/folder/file"), rig.path("b/file-link"));
  files::create_directory_symlink(rig.path("elsewhere/folder"), rig.path("b/folder-link"));
  ASSERT_EQ(::mkfifo(rig.path("b/fifo").c_str(), 0600), 0);
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  rig.write("elsewhere/folder/later");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_EQ(rig.gauge("millrace_watches"), 1);
}

TEST(FsWatch, ForgetsANameThatIsGoneBeforeItsTurn) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.write("b/gone");
  files::remove(rig.path("b/gone"));
  rig.write("b/replaced", "file");
  files::remove(rig.path("b/replaced"));
  rig.folder("b/replaced");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_EQ(rig.gauge("millrace_watch_candidates"), 0);
}

TEST(FsWatch, NeverLooksIntoOurOwnFolder) {
  WatchRig rig;
  rig.apply("f", "b");
  rig.write("b/.millrace/tmp/file");
  rig.write("b/folder/.millrace/file");  // only the bucket's own is ours
  EXPECT_THAT(rig.taken("f"), ElementsAre("folder/.millrace/file"));
  EXPECT_EQ(rig.gauge("millrace_watches"), 3);
}

// A run's output as the engine makes it: sealed, committed, placed.
RunRecord place_output(WatchRig& rig, const std::string& bucket, const std::string& key) {
  const RunId run_id(std::string(32, 'a'));
  const AttemptPlace place{.bucket = bucket, .run_id = run_id, .token = AttemptToken(std::string(32, 'b'))};
  auto& outputs = rig.store().outputs();
  const auto attempt = run_task(rig.loop, outputs.make_attempt(place));
  EXPECT_TRUE(attempt) << attempt.error().message;
  {
    const Fd file(::openat(attempt->fd.get(), "out", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    EXPECT_EQ(::write(file.get(), "result", 6), 6);
  }
  const OutputRank rank{
      .order = Order("01HZZZZZZZZZZZZZZZZZZZZZZZ"), .generation = 0, .event_id = EventId("e"), .run_id = run_id};
  const auto sealed = run_task(rig.loop, outputs.seal(place, {.bytes_max = 1 << 20, .files_max = 10}, rank));
  EXPECT_TRUE(sealed) << sealed.error().message;
  const auto& file = sealed->files.at(0);
  RunRecord record;
  record.run_id = run_id;
  record.event_id = rank.event_id;
  record.function = "maker";
  record.order = rank.order;
  record.token = place.token;
  record.outputs.push_back({.name = file.name,
                            .bucket = bucket,
                            .key = key,
                            .source_path = file.source_path,
                            .placed = file.placed,
                            .private_path = file.private_path,
                            .version = file.version,
                            .sha256 = file.sha256});
  EXPECT_TRUE(run_task(rig.loop, rig.state->runs().commit(record)));
  EXPECT_TRUE(run_task(rig.loop, outputs.place(record.outputs, rank)));
  return record;
}

TEST(FsWatch, LeavesOwnOutputsAndTakesCopiesOfThem) {
  WatchRig rig;
  rig.apply("f", "b");
  place_output(rig, "b", "out/result");
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  const std::string copy = "cp -a '" + rig.path("b/out/result") + "' '" + rig.path("b/out/copy") + "'";
  ASSERT_EQ(std::system(copy.c_str()), 0);  // NOLINT(cert-env33-c): cp is what users do
  EXPECT_THAT(rig.taken("f"), ElementsAre("out/copy"));
  files::rename(rig.path("b/out/result"), rig.path("b/out/renamed"));
  EXPECT_THAT(rig.taken("f"), ElementsAre("out/copy", "out/renamed"));
}

TEST(FsWatch, AScanWritesTheMissingRowOfAnOwnOutput) {
  WatchRig rig;
  rig.apply("f", "b");
  const RunRecord record = place_output(rig, "b", "result");
  ASSERT_TRUE(run_task(rig.loop, rig.state->runs().mark(record.run_id, {.published = true})));
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  rig.stop();
  rig.start();
  EXPECT_THAT(rig.taken("f"), IsEmpty());
  EXPECT_THAT(rig.rows("f"), ElementsAre(::testing::Key("result")));
}

}  // namespace
}  // namespace millrace::test
