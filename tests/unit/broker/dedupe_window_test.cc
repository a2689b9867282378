#include "broker/dedupe_window.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

using std::chrono::seconds;

EventLoop::TimePoint at(int s) {
  return EventLoop::TimePoint(seconds(s));
}
DedupeWindow::Entry entry(std::uint64_t id, int until, std::uint32_t epoch = 0) {
  return {.id = {.low = id, .high = 0}, .content = id * 10, .epoch = epoch, .until = at(until)};
}
bool knows(DedupeWindow& window, std::uint64_t id, int now) {
  return window.find({.low = id, .high = 0}, at(now));
}

TEST(DedupeWindow, KnowsAnIdUntilItsWindowEnds) {
  DedupeWindow window(10);
  window.add(entry(1, 5));
  ASSERT_TRUE(window.find({.low = 1, .high = 0}, at(4)));
  EXPECT_EQ(window.find({.low = 1, .high = 0}, at(4))->content, 10U);
  EXPECT_FALSE(knows(window, 2, 4));
  EXPECT_FALSE(window.find({.low = 1, .high = 1}, at(4)));
  EXPECT_FALSE(knows(window, 1, 5));
  EXPECT_EQ(window.size(), 0U);
}

TEST(DedupeWindow, ForgetsTheOldestWhenFull) {
  DedupeWindow window(3);
  for (std::uint64_t id = 1; id <= 4; ++id) window.add(entry(id, 100));
  EXPECT_FALSE(knows(window, 1, 0));
  for (std::uint64_t id = 2; id <= 4; ++id) EXPECT_TRUE(knows(window, id, 0));
}

TEST(DedupeWindow, EntryBehindALongerOneStillRunsOut) {
  DedupeWindow window(10);
  window.add(entry(1, 100));
  window.add(entry(2, 5));
  EXPECT_FALSE(knows(window, 2, 5));
  EXPECT_TRUE(knows(window, 1, 5));
}

TEST(DedupeWindow, IdThatIsAddedAgainKeepsTheLaterWindow) {
  DedupeWindow window(10);
  window.add(entry(1, 5));
  window.add(entry(1, 9));
  EXPECT_TRUE(knows(window, 1, 6));
  EXPECT_FALSE(knows(window, 1, 9));
}

TEST(DedupeWindow, GivesOutWhatASegmentRemembersOnceAndInSteps) {
  DedupeWindow window(10);
  for (std::uint64_t id = 1; id <= 3; ++id) window.add(entry(id, 100, 7));
  window.add(entry(4, 100, 8));
  window.add(entry(5, 2, 7));  // over by the time it is asked for
  EXPECT_EQ(window.take_from(7, at(3), 2).size(), 2U);
  const auto rest = window.take_from(7, at(3), 10);
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0].content, 30U);
  EXPECT_TRUE(window.take_from(7, at(3), 10).empty());
  auto moved = rest[0];
  moved.epoch = 9;
  window.add(moved);
  EXPECT_EQ(window.take_from(9, at(3), 10).size(), 2U);
}

}  // namespace
}  // namespace millrace
