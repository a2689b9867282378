#include "engine/placed_names.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

ObjectVersion version(std::uint64_t inode) {
  return {.size_bytes = 1, .mtime_ns = 2, .inode = inode};
}

TEST(PlacedNames, KnowsTheLatestFileOfAName) {
  PlacedNames names;
  EXPECT_FALSE(names.find("b", "a"));
  names.remember("b", "a", version(1));
  names.remember("b", "a", version(2));
  EXPECT_EQ(names.find("b", "a"), version(2));
  EXPECT_FALSE(names.find("b", "b"));
  EXPECT_FALSE(names.find("c", "a"));
}

TEST(PlacedNames, ForgetsTheOldestBeyondItsBound) {
  PlacedNames names(2);
  names.remember("b", "1", version(1));
  names.remember("b", "2", version(2));
  names.remember("b", "1", version(3));
  names.remember("b", "3", version(4));
  EXPECT_FALSE(names.find("b", "1"));
  EXPECT_EQ(names.find("b", "2"), version(2));
  EXPECT_EQ(names.find("b", "3"), version(4));
}

}  // namespace
}  // namespace millrace
