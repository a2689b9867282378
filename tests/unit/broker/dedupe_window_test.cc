#include "broker/dedupe_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace millrace {
namespace {

using std::chrono::seconds;

EventLoop::TimePoint at(int s) {
  return EventLoop::TimePoint(seconds(s));
}
DedupeWindow::Entry entry(std::uint64_t id, int until, std::uint32_t epoch = 0) {
  return {
      .id = {.low = id, .high = 0}, .content = static_cast<std::uint32_t>(id * 10), .epoch = epoch, .until = at(until)};
}
bool knows(DedupeWindow& window, std::uint64_t id, int now) {
  return window.find({.low = id, .high = 0}, at(now)).has_value();
}

TEST(DedupeWindow, KnowsAnIdUntilItsWindowEnds) {
  DedupeWindow window(10);
  window.add(entry(1, 5));
  ASSERT_TRUE(window.find({.low = 1, .high = 0}, at(4)));
  EXPECT_EQ(window.find({.low = 1, .high = 0}, at(4)), 10U);
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

// Against the plainest thing that could work: a list of everything that was added.
TEST(DedupeWindow, DoesWhatAListDoes) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const std::size_t bound : {1U, 7U, 1000U}) {
    DedupeWindow window(bound);
    std::vector<DedupeWindow::Entry> model;  // the newest entry of each id, in the order of arrival
    int now = 0;
    std::uint32_t epoch = 1;
    for (int step = 0; step < 20'000; ++step) {
      const std::uint64_t id = random() % 2000 << (random() % 3 * 20);  // some share their place in the table
      if (random() % 3 == 0) {
        auto added = entry(id, now + 50, epoch);
        std::erase_if(model, [&](const auto& each) { return each.id == added.id; });
        model.push_back(added);
        window.add(added);
        if (model.size() > bound) model.erase(model.begin());
      } else {
        const auto found =
            std::ranges::find_if(model, [&](const auto& each) { return each.id.low == id && each.until > at(now); });
        // After many repeats of ids the queue holds as many places of them: the oldest may go before its time.
        const auto known = window.find({.low = id, .high = 0}, at(now));
        if (known) {
          ASSERT_NE(found, model.end()) << id;
          ASSERT_EQ(*known, found->content);
        } else if (found != model.end()) {
          ASSERT_GT(model.end() - found, static_cast<std::ptrdiff_t>(bound / 2)) << id;
        }
      }
      if (random() % 20 == 0) ++now;
      if (random() % 500 == 0) ++epoch;
      ASSERT_LE(window.size(), bound);
    }
    now += 50;
    EXPECT_FALSE(knows(window, 1, now));
    EXPECT_EQ(window.size(), 0U);
  }
}

TEST(DedupeWindow, LooksAtAllBitsOfAnId) {
  DedupeWindow window(10);
  auto first = entry(1, 100);
  first.id.high = 5;
  window.add(first);
  EXPECT_FALSE(knows(window, 1, 0));
  EXPECT_TRUE(window.find({.low = 1, .high = 5}, at(0)));
}

}  // namespace
}  // namespace millrace
