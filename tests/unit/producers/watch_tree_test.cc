#include "producers/watch_tree.h"

#include <gmock/gmock.h>

namespace millrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::string folder_of(const WatchTree& tree, int watch) {
  const auto* place = tree.find(watch);
  return place == nullptr ? "none" : place->bucket + ":" + place->folder;
}

TEST(WatchTree, FindsTheFolderOfAWatch) {
  WatchTree tree;
  EXPECT_THAT(tree.put(1, {"b", ""}, 1), IsEmpty());
  EXPECT_THAT(tree.put(2, {"b", "a/"}, 1), IsEmpty());
  EXPECT_EQ(folder_of(tree, 1), "b:");
  EXPECT_EQ(folder_of(tree, 2), "b:a/");
  EXPECT_EQ(folder_of(tree, 3), "none");
  EXPECT_TRUE(tree.has({"b", "a/"}));
  EXPECT_FALSE(tree.has({"other", "a/"}));
  EXPECT_EQ(tree.size(), 2U);
}

TEST(WatchTree, TheSameDirectoryUnderAnotherNameHasMoved) {
  WatchTree tree;
  EXPECT_THAT(tree.put(1, {"b", "old/"}, 1), IsEmpty());
  EXPECT_THAT(tree.put(1, {"b", "new/"}, 1), IsEmpty());
  EXPECT_EQ(folder_of(tree, 1), "b:new/");
  EXPECT_FALSE(tree.has({"b", "old/"}));
  EXPECT_EQ(tree.size(), 1U);
}

TEST(WatchTree, AnotherDirectoryUnderTheSameNameReplacesTheFormer) {
  WatchTree tree;
  EXPECT_THAT(tree.put(1, {"b", "a/"}, 1), IsEmpty());
  EXPECT_THAT(tree.put(2, {"b", "a/"}, 1), ElementsAre(1));
  EXPECT_EQ(folder_of(tree, 1), "none");
  EXPECT_EQ(folder_of(tree, 2), "b:a/");
}

TEST(WatchTree, PuttingTheSameAgainChangesNothing) {
  WatchTree tree;
  EXPECT_THAT(tree.put(1, {"b", "a/"}, 1), IsEmpty());
  EXPECT_THAT(tree.put(1, {"b", "a/"}, 2), IsEmpty());
  EXPECT_EQ(tree.size(), 1U);
}

TEST(WatchTree, ForgetsAWatchAndMindsNoUnknownOne) {
  WatchTree tree;
  EXPECT_THAT(tree.put(1, {"b", "a/"}, 1), IsEmpty());
  tree.forget(1);
  tree.forget(7);
  EXPECT_EQ(tree.size(), 0U);
  EXPECT_FALSE(tree.has({"b", "a/"}));
}

TEST(WatchTree, TakesAFolderWithAllBelowItAndNothingBeside) {
  WatchTree tree;
  const std::vector<std::string> folders = {"", "a/", "a/b/", "a/b/c/", "a b/", "ab/", "b/a/"};
  for (std::size_t i = 0; i < folders.size(); ++i) {
    EXPECT_THAT(tree.put(static_cast<int>(i), {"b", folders[i]}, 1), IsEmpty());
  }
  EXPECT_THAT(tree.put(100, {"other", "a/"}, 1), IsEmpty());
  EXPECT_THAT(tree.take_from({"b", "a/"}), ElementsAre(1, 2, 3));
  EXPECT_THAT(tree.take_from({"b", "nothing/"}), IsEmpty());
  EXPECT_THAT(tree.take_from({"nothing", ""}), IsEmpty());
  EXPECT_EQ(tree.size(), 5U);
  EXPECT_THAT(tree.take_from({"b", ""}), UnorderedElementsAre(0, 4, 5, 6));
  EXPECT_EQ(folder_of(tree, 100), "other:a/");
}

TEST(WatchTree, TakesWhatAWalkDidNotFindAgain) {
  WatchTree tree;
  EXPECT_THAT(tree.put(1, {"b", ""}, 1), IsEmpty());
  EXPECT_THAT(tree.put(2, {"b", "a/"}, 1), IsEmpty());
  EXPECT_THAT(tree.put(3, {"other", ""}, 1), IsEmpty());
  EXPECT_THAT(tree.put(1, {"b", ""}, 2), IsEmpty());
  EXPECT_THAT(tree.put(4, {"b", "new/"}, 2), IsEmpty());
  EXPECT_THAT(tree.take_older("b", 2), ElementsAre(2));
  EXPECT_EQ(folder_of(tree, 2), "none");
  EXPECT_EQ(tree.size(), 3U);
}

TEST(WatchTree, TakesWhatNobodyWants) {
  WatchTree tree;
  EXPECT_THAT(tree.put(1, {"b", "a/"}, 1), IsEmpty());
  EXPECT_THAT(tree.put(2, {"b", "c/"}, 1), IsEmpty());
  EXPECT_THAT(tree.take_if("b", [](std::string_view folder) { return folder == "a/"; }), ElementsAre(1));
  EXPECT_EQ(tree.size(), 1U);
}

}  // namespace
}  // namespace millrace
