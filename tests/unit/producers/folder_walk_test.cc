#include "producers/folder_walk.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/support/temp_dir.h"

namespace millrace::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
namespace files = std::filesystem;

// Watches by inode number, and may run out of watches.
class CountingSource final : public WatchSource {
 public:
  std::size_t left = 1'000'000;
  std::function<void()> after_add;

  int fd() const override { return -1; }
  Result<int> add(int directory) override {
    if (left == 0) return fail(Errc::no_space, "no watch is left");
    --left;
    struct stat status{};
    ::fstat(directory, &status);
    if (after_add) after_add();
    return static_cast<int>(status.st_ino % 1'000'000'000);
  }
  void remove(int) override {}
  Result<WatchBatch> read() override { return WatchBatch{}; }
  Result<std::size_t> queued_bytes() override { return 0; }
};

class FolderWalkTest : public ::testing::Test {
 protected:
  struct Walked {
    std::vector<std::string> folders;
    std::vector<std::string> files;
    std::vector<std::pair<std::string, Error>> refused;
    std::size_t steps = 0;
  };

  void file(const std::string& key) {
    files::create_directories(files::path(root / key).parent_path());
    std::ofstream(root / key) << "text";
  }
  Walked walk(std::vector<std::string> wanted = {""}, std::deque<std::string> start = {""}) {
    return walk_below(root.path(), std::move(wanted), std::move(start));
  }
  Walked walk_below(const std::string& path, std::vector<std::string> wanted, std::deque<std::string> start) {
    FolderWalk folders(source, path, std::move(wanted), std::move(start));
    Walked all;
    for (bool done = false; !done;) {
      auto step = folders.step();
      ++all.steps;
      for (auto& [watch, folder] : step.watched) all.folders.push_back(folder);
      for (auto& key : step.files) all.files.push_back(key);
      for (auto& refused : step.refused) all.refused.push_back(refused);
      done = step.done;
    }
    return all;
  }

  TempDir root;
  std::shared_ptr<CountingSource> source = std::make_shared<CountingSource>();
};

TEST(Concerns, AFolderOnTheWayToAWantedOneAndAllBelowIt) {
  const std::vector<std::string> wanted = {"in/deep/", "other/"};
  EXPECT_TRUE(concerns(wanted, ""));
  EXPECT_TRUE(concerns(wanted, "in/"));
  EXPECT_TRUE(concerns(wanted, "in/deep/"));
  EXPECT_TRUE(concerns(wanted, "in/deep/er/"));
  EXPECT_FALSE(concerns(wanted, "in/deeper/"));
  EXPECT_FALSE(concerns(wanted, "i/"));
  EXPECT_FALSE(concerns({}, ""));
  EXPECT_TRUE(concerns({""}, "any/"));
}

TEST_F(FolderWalkTest, FindsEverythingButOurOwnFolder) {
  file("a");
  file("one/b");
  file("one/two/c");
  file("one/.millrace/d");
  file(".millrace/e");
  const auto found = walk();
  EXPECT_THAT(found.folders, UnorderedElementsAre("", "one/", "one/two/", "one/.millrace/"));
  EXPECT_THAT(found.files, UnorderedElementsAre("a", "one/b", "one/two/c", "one/.millrace/d"));
  EXPECT_THAT(found.refused, IsEmpty());
}

TEST_F(FolderWalkTest, EntersOnlyWhatConcernsSomebody) {
  file("in/deep/a");
  file("in/other/b");
  file("out/c");
  const auto found = walk({"in/deep/"});
  EXPECT_THAT(found.folders, UnorderedElementsAre("", "in/", "in/deep/"));
}

TEST_F(FolderWalkTest, FollowsNoLinks) {
  const TempDir elsewhere;
  files::create_directories(elsewhere / "below");
  files::create_directory_symlink(elsewhere.path(), root / "link");
  EXPECT_THAT(walk().folders, ElementsAre(""));
  EXPECT_THAT(walk({""}, {"link/", "link/below/", "../"}).folders, IsEmpty());
}

// Where a bucket lies is the operator's word, links and all.
TEST_F(FolderWalkTest, GoesThroughALinkToTheBucketItself) {
  const TempDir links;
  files::create_directory_symlink(root.path(), links / "bucket");
  file("a");
  EXPECT_THAT(walk_below(links / "bucket", {""}, {""}).files, ElementsAre("a"));
}

TEST_F(FolderWalkTest, MindsNoFolderThatIsGoneButABucketThatIs) {
  EXPECT_THAT(walk({""}, {"gone/", "gone/too/"}).refused, IsEmpty());
  file("is-a-file");
  EXPECT_THAT(walk({""}, {"is-a-file/"}).refused, IsEmpty());
  const auto lost = walk_below(root / "nothing", {""}, {""});
  ASSERT_EQ(lost.refused.size(), 1U);
  EXPECT_EQ(lost.refused[0].second.code, Errc::not_found);
}

TEST_F(FolderWalkTest, WatchesAFolderBeforeItLooksInside) {
  source->after_add = [&] { file("late"); };
  EXPECT_THAT(walk().files, ElementsAre("late"));
}

TEST_F(FolderWalkTest, StopsAtTheKernelsLimitAndNamesIt) {
  for (int i = 0; i < 10; ++i) files::create_directories(root / std::to_string(i));
  source->left = 4;
  const auto found = walk();
  EXPECT_EQ(found.folders.size(), 4U);
  ASSERT_EQ(found.refused.size(), 1U);
  EXPECT_EQ(found.refused[0].second.code, Errc::resource_exhausted);
  EXPECT_THAT(found.refused[0].second.message, ::testing::HasSubstr("fs.inotify.max_user_watches"));
}

TEST_F(FolderWalkTest, GoesInBoundedSteps) {
  for (int i = 0; i < 1'100; ++i) file(std::to_string(i));
  const auto found = walk();
  EXPECT_EQ(std::set<std::string>(found.files.begin(), found.files.end()).size(), 1'100U);
  EXPECT_EQ(found.steps, 2U);
}

TEST_F(FolderWalkTest, ReportsAFolderItMayNotRead) {
  file("locked/a");
  files::permissions(root / "locked", files::perms::none);
  files::permissions(root.path(), files::perms(0755));
  const bool root_user = ::geteuid() == 0;  // who may read everything
  ASSERT_EQ(root_user ? ::seteuid(65534) : 0, 0);
  const auto found = walk();
  ASSERT_EQ(root_user ? ::seteuid(0) : 0, 0);
  ASSERT_EQ(found.refused.size(), 1U);
  EXPECT_EQ(found.refused[0].first, "locked/");
  EXPECT_EQ(found.refused[0].second.code, Errc::permission_denied);
  files::permissions(root / "locked", files::perms::owner_all);
}

}  // namespace
}  // namespace millrace::test
