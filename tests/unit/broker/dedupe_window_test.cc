#include "broker/dedupe_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
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

TEST(DedupeWindow, GivesOutWhatASegmentRemembersUntilItIsMovedAndInSteps) {
  DedupeWindow window(10);
  for (std::uint64_t id = 1; id <= 3; ++id) window.add(entry(id, 100, 7));
  window.add(entry(4, 100, 8));
  window.add(entry(5, 2, 8));  // over by the time it is asked for
  EXPECT_EQ(window.only_in(7, at(3), 2).size(), 2U);
  EXPECT_EQ(window.only_in(7, at(3), 2).size(), 2U) << "nobody has written them further on";
  window.moved(9);
  const auto rest = window.only_in(7, at(3), 10);
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0].content, 30U);
  window.moved(10);
  EXPECT_TRUE(window.only_in(7, at(3), 10).empty());

  const auto last = window.only_in(8, at(3), 10);
  ASSERT_EQ(last.size(), 1U);
  EXPECT_EQ(last[0].content, 40U);
  window.moved(10);
  EXPECT_EQ(window.only_in(9, at(3), 10).size(), 2U) << "what was moved there first";
  window.moved(11);
  EXPECT_EQ(window.only_in(10, at(3), 10).size(), 2U);
  for (std::uint64_t id = 1; id <= 4; ++id) EXPECT_TRUE(knows(window, id, 3));
}

TEST(DedupeWindow, ASegmentOfIdsThatRanOutOrWereReplacedRemembersNothing) {
  DedupeWindow window(10);
  EXPECT_TRUE(window.only_in(7, at(0), 10).empty());
  window.add(entry(1, 100, 7));
  window.add(entry(2, 2, 7));
  window.add(entry(1, 200, 8));
  EXPECT_TRUE(window.only_in(7, at(3), 10).empty());
  const auto newer = window.only_in(8, at(3), 10);
  ASSERT_EQ(newer.size(), 1U);
  EXPECT_EQ(newer[0].until, at(200));
  window.moved(9);
  EXPECT_FALSE(knows(window, 1, 200));
  EXPECT_TRUE(window.only_in(9, at(200), 10).empty());
  window.add(entry(3, 300, 12));
  EXPECT_TRUE(window.only_in(11, at(200), 10).empty());
  EXPECT_EQ(window.only_in(12, at(200), 10).size(), 1U);
}

// As a log does it: the oldest segments are given up one by one, and nothing that is known stands only in one of them.
TEST(DedupeWindow, RemembersInWhichSegmentEachIdStandsLast) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  DedupeWindow window(500);
  std::map<std::uint64_t, std::uint32_t> recorded;  // the segment of each id's newest record
  std::uint32_t oldest = 1;
  std::uint32_t active = 2;
  for (std::uint64_t id = 1; id <= 30'000; ++id) {
    const auto now = static_cast<int>(id / 100);
    window.add(entry(id, now + static_cast<int>(random() % 8), active));
    recorded[id] = active;
    if (random() % 40 == 0) ++active;
    if (random() % 60 != 0 || oldest + 1 >= active) continue;
    for (auto only = window.only_in(oldest, at(now), 16); !only.empty(); only = window.only_in(oldest, at(now), 16)) {
      ASSERT_LE(only.size(), 16U);
      for (const auto& each : only) {
        ASSERT_LE(recorded[each.id.low], oldest) << "given out although it stands further on";
        recorded[each.id.low] = active;
      }
      window.moved(active);
      if (random() % 4 == 0) ++active;
    }
    ++oldest;
    for (std::uint64_t known = id > 500 ? id - 500 : 1; known <= id; ++known) {
      if (knows(window, known, now)) ASSERT_GE(recorded[known], oldest) << "forgotten at a restart";
    }
  }
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
