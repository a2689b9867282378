#include "core/file_time.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

using Limits = std::numeric_limits<std::int64_t>;

TEST(FileTime, IsInNanoseconds) {
  EXPECT_EQ(nanoseconds_of({.tv_sec = 0, .tv_nsec = 0}), 0);
  EXPECT_EQ(nanoseconds_of({.tv_sec = 1'763'713'000, .tv_nsec = 999'999'999}), 1'763'713'000'999'999'999);
  EXPECT_EQ(nanoseconds_of({.tv_sec = -1, .tv_nsec = 1}), -999'999'999);
  EXPECT_EQ(nanoseconds_of({.tv_sec = 9'223'372'035, .tv_nsec = 999'999'999}), 9'223'372'035'999'999'999);
}

TEST(FileTime, OfDatesBeyondWhatFitsIsTheNearestThatDoes) {
  EXPECT_EQ(nanoseconds_of({.tv_sec = 9'223'372'036, .tv_nsec = 999'999'999}), Limits::max());
  EXPECT_EQ(nanoseconds_of({.tv_sec = Limits::max(), .tv_nsec = 0}), Limits::max());
  EXPECT_EQ(nanoseconds_of({.tv_sec = Limits::min(), .tv_nsec = 0}), Limits::min());
}

}  // namespace
}  // namespace millrace
