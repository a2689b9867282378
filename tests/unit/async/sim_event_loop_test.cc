#include "async/sim_event_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace millrace {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;
using std::chrono::seconds;

// The order in which callbacks run that are ready together.
std::string order_of(std::uint64_t seed) {
  SimEventLoop loop(seed);
  std::string log;
  for (char name = 'a'; name <= 'j'; ++name) {
    loop.post([&log, name] { log += name; });
  }
  EXPECT_TRUE(loop.run_until_idle());
  return log;
}

TEST(SimEventLoop, TheSeedDecidesTheOrderOfWhatIsReadyTogether) {
  std::set<std::string> orders;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::string order = order_of(seed);
    EXPECT_EQ(order, order_of(seed)) << "the same seed gives the same order";
    orders.insert(order);
    std::ranges::sort(order);
    EXPECT_EQ(order, "abcdefghij");
  }
  EXPECT_GT(orders.size(), 15U);
}

TEST(SimEventLoop, NothingRunsInsideTheCallThatRegistersIt) {
  SimEventLoop loop;
  bool ran = false;
  loop.post([&ran] { ran = true; });
  const auto timer = loop.start_timer(nanoseconds(0), [&ran] { ran = true; });
  EXPECT_FALSE(ran);
}

TEST(SimEventLoop, TimersFireInTheOrderOfTheirTime) {
  SimEventLoop loop;
  std::string log;
  const auto start = loop.now();
  const auto c = loop.start_timer(seconds(3), [&log] { log += 'c'; });
  const auto a = loop.start_timer(seconds(1), [&log] { log += 'a'; });
  const auto b = loop.start_timer(seconds(2), [&] {
    log += 'b';
    EXPECT_EQ(loop.now(), start + seconds(2));
  });
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(log, "abc");
  EXPECT_EQ(loop.now(), start + seconds(3));
}

TEST(SimEventLoop, WhatIsReadyComesBeforeAnyTimer) {
  SimEventLoop loop;
  std::string log;
  const auto timer = loop.start_timer(nanoseconds(-5), [&log] { log += 't'; });
  loop.post([&] {
    log += 'a';
    loop.post([&log] { log += 'b'; });
  });
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(log, "abt");
}

TEST(SimEventLoop, ATimerThatIsDestroyedDoesNotFire) {
  SimEventLoop loop;
  bool fired = false;
  auto timer = loop.start_timer(seconds(1), [&fired] { fired = true; });
  timer.reset();
  const auto start = loop.now();
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_FALSE(fired);
  EXPECT_EQ(loop.now(), start);
}

TEST(SimEventLoop, ATimerMayDestroyItselfOrStartTheNext) {
  SimEventLoop loop;
  int fired = 0;
  std::unique_ptr<EventLoop::Handle> timer;
  timer = loop.start_timer(seconds(1), [&] {
    ++fired;
    timer = loop.start_timer(seconds(1), [&] {
      ++fired;
      timer.reset();
    });
  });
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(fired, 2);
}

TEST(SimEventLoop, RunForEndsExactlyAtItsTime) {
  SimEventLoop loop;
  std::string log;
  const auto start = loop.now();
  const auto at = loop.start_timer(seconds(2), [&log] { log += "at"; });
  const auto after = loop.start_timer(seconds(2) + nanoseconds(1), [&log] { log += "after"; });
  loop.run_for(seconds(2));
  EXPECT_EQ(log, "at");
  EXPECT_EQ(loop.now(), start + seconds(2));
  loop.run_for(seconds(5));
  EXPECT_EQ(log, "atafter");
  EXPECT_EQ(loop.now(), start + seconds(7));
}

TEST(SimEventLoop, AnEndlessScenarioIsGivenUp) {
  SimEventLoop loop;
  int steps = 0;
  struct Again {
    SimEventLoop* loop;
    int* steps;
    void operator()() const {
      ++*steps;
      loop->post(*this);
    }
  };
  loop.post(Again{&loop, &steps});
  EXPECT_FALSE(loop.run_until_idle(1000));
  EXPECT_EQ(steps, 1000);
}

TEST(SimEventLoop, TheWallClockMovesWithTimeAndJumpsAlone) {
  SimEventLoop loop;
  const auto wall = loop.wall_now();
  loop.run_for(seconds(10));
  EXPECT_EQ(loop.wall_now(), wall + seconds(10));
  const auto now = loop.now();
  loop.jump_wall_clock(-hours(1));
  EXPECT_EQ(loop.wall_now(), wall + seconds(10) - hours(1));
  EXPECT_EQ(loop.now(), now);
  EXPECT_EQ(SimEventLoop(1).wall_now(), SimEventLoop(2).wall_now()) << "records of a simulation repeat";
}

TEST(SimEventLoop, DestroysWhatNeverRan) {
  auto held = std::make_shared<int>(1);
  std::unique_ptr<EventLoop::Handle> timer;
  {
    SimEventLoop loop;
    loop.post([held] { FAIL(); });
    timer = loop.start_timer(seconds(1), [held] { FAIL(); });
    EXPECT_EQ(held.use_count(), 3);
  }
  EXPECT_EQ(held.use_count(), 1);
  timer.reset();  // outlives the loop without harm
}

TEST(SimEventLoop, IsItsOwnThread) {
  EXPECT_TRUE(SimEventLoop().on_loop_thread());
}

}  // namespace
}  // namespace millrace
