#include "producers/watch_source.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace millrace {

void PrintTo(const WatchNote& note, std::ostream* out) {
  *out << note.watch << ":" << static_cast<int>(note.kind) << ":" << note.name;
}

namespace test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
namespace files = std::filesystem;

class InotifyTest : public ::testing::Test {
 protected:
  static auto is(int watch, WatchNoteKind kind, const std::string& name) {
    return AllOf(Field(&WatchNote::watch, watch), Field(&WatchNote::kind, kind), Field(&WatchNote::name, name));
  }
  int watch(const std::string& path) {
    const Fd opened(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return *inotify.add(opened.get());
  }
  std::vector<WatchNote> notes() { return inotify.read()->notes; }
  void file(const std::string& name) { std::ofstream(directory / name) << "text"; }

  TempDir directory;
  Inotify inotify = *Inotify::open();
};

TEST_F(InotifyTest, SaysWhatBecameOfFiles) {
  file("old");
  const int w = watch(directory.path());
  file("written");
  EXPECT_THAT(notes(), ElementsAre(is(w, WatchNoteKind::file, "written"), is(w, WatchNoteKind::file, "written")));
  files::rename(directory / "old", directory / "moved");
  EXPECT_THAT(notes(), ElementsAre(is(w, WatchNoteKind::file, "moved")));
  files::create_hard_link(directory / "moved", directory / "linked");
  EXPECT_THAT(notes(), ElementsAre(is(w, WatchNoteKind::file, "linked")));
}

TEST_F(InotifyTest, KeepsQuietAboutReadersAndDeletions) {
  file("old");
  watch(directory.path());
  std::ifstream(directory / "old").get();
  files::remove(directory / "old");
  EXPECT_THAT(notes(), IsEmpty());
}

TEST_F(InotifyTest, SaysWhatBecameOfFolders) {
  files::create_directory(directory / "below");
  const int top = watch(directory.path());
  const int below = watch(directory / "below");
  files::rename(directory / "below", directory / "other");
  EXPECT_THAT(notes(),
              ElementsAre(is(top, WatchNoteKind::folder_left, "below"),
                          is(top, WatchNoteKind::folder_appeared, "other"), is(below, WatchNoteKind::watch_moved, "")));
  files::remove(directory / "other");
  EXPECT_THAT(notes(), ElementsAre(is(below, WatchNoteKind::watch_ended, "")));
}

TEST_F(InotifyTest, GivesTheSameDirectoryTheSameWatch) {
  EXPECT_EQ(watch(directory.path()), watch(directory.path()));
}

TEST_F(InotifyTest, EndsAWatchThatIsRemoved) {
  const int w = watch(directory.path());
  inotify.remove(w);
  inotify.remove(w);
  inotify.remove(12345);
  file("unseen");
  EXPECT_THAT(notes(), ElementsAre(is(w, WatchNoteKind::watch_ended, "")));
}

TEST_F(InotifyTest, RefusesWhatIsNoDirectory) {
  file("file");
  const Fd opened(::open((directory / "file").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(inotify.add(opened.get()));
}

TEST_F(InotifyTest, ReturnsAsManyBytesAsAreQueued) {
  watch(directory.path());
  EXPECT_EQ(*inotify.queued_bytes(), 0U);
  for (int i = 0; i < 800; ++i) file(std::string(60, 'n') + std::to_string(i));
  const std::size_t queued = *inotify.queued_bytes();
  std::size_t bytes = 0;
  std::size_t count = 0;
  while (const auto batch = inotify.read()) {
    if (batch->bytes == 0) break;
    bytes += batch->bytes;
    count += batch->notes.size();
  }
  EXPECT_EQ(bytes, queued);
  EXPECT_EQ(count, 1'600U);
}

TEST_F(InotifyTest, KeepsNamesAsTheyAre) {
  const int w = watch(directory.path());
  file("line\nbreak \xff");
  EXPECT_THAT(notes(), ::testing::Contains(is(w, WatchNoteKind::file, "line\nbreak \xff")));
}

TEST(KernelWatchesMax, IsKnownHere) {
  EXPECT_GT(kernel_watches_max(), 0U);
}

}  // namespace
}  // namespace test
}  // namespace millrace
