#include "storage/fs/tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "storage/fs/beneath.h"
#include "tests/support/temp_dir.h"

namespace millrace::fs {
namespace {

class TreeTest : public testing::Test {
 protected:
  void fill(int files) {
    std::filesystem::create_directories(directory_ / "tree/sub/empty");
    for (int i = 0; i < files; ++i) std::ofstream(directory_ / ("tree/sub/f" + std::to_string(i))) << "x";
  }

  test::TempDir directory_;
  Fd root_{open(directory_.path().c_str(), O_RDONLY | O_DIRECTORY)};
};

TEST_F(TreeTest, IsRemovedInBoundedSteps) {
  fill(25);
  int steps = 0;
  for (bool done = false; !done; ++steps) {
    const auto step = remove_tree(root_.get(), "tree", 10);
    ASSERT_TRUE(step) << step.error().message;
    done = *step;
    ASSERT_LT(steps, 20);
  }
  EXPECT_GE(steps, 3);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "tree"));
  EXPECT_TRUE(*remove_tree(root_.get(), "tree", 10)) << "nothing there is nothing left";
}

TEST_F(TreeTest, IsNotRemovedThroughALink) {
  fill(1);
  std::filesystem::create_directory_symlink("tree", directory_ / "link");
  const auto removed = remove_tree(root_.get(), "link", 100);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Errc::failed_precondition);
  EXPECT_TRUE(std::filesystem::exists(directory_ / "tree/sub/f0"));
}

TEST_F(TreeTest, IsMeasuredToADepthAndRefusedBeyond) {
  std::filesystem::create_directory(directory_ / "tree");
  std::string path = "tree";
  for (int i = 1; i < 64; ++i) path += "/d";
  std::filesystem::create_directories(directory_ / path);
  const SealLimits limits{.bytes_max = 1000, .files_max = 1000};
  const auto measured = measure_tree(open_own_directory(root_.get(), "tree"), limits);
  ASSERT_TRUE(measured) << measured.error().message;
  EXPECT_EQ(measured->files, 63U);
  std::filesystem::create_directory(directory_ / (path + "/d"));
  EXPECT_EQ(measure_tree(open_own_directory(root_.get(), "tree"), limits).error().code, Errc::too_large);
}

TEST_F(TreeTest, GivesItsOwnerBackTheRightsItsMakerTookAway) {
  std::filesystem::create_directory(directory_ / "closed");
  ASSERT_EQ(chmod((directory_ / "closed").c_str(), 0), 0);
  EXPECT_TRUE(open_own_directory(root_.get(), "closed"));
  struct stat status{};
  ASSERT_EQ(stat((directory_ / "closed").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0700U, 0700U);
}

}  // namespace
}  // namespace millrace::fs
