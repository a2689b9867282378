#include "async/semaphore.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "async/sim_event_loop.h"
#include "async/task_group.h"

namespace millrace {
namespace {

// Every test runs in several orders of what is ready together.
class SemaphoreTest : public testing::TestWithParam<int> {
 protected:
  SimEventLoop loop_{static_cast<std::uint64_t>(GetParam())};
};
INSTANTIATE_TEST_SUITE_P(Seeds, SemaphoreTest, testing::Range(1, 6));

// Takes units and keeps them in `held`; notes its name when it has them, or the error's.
Task<void> take(Semaphore* semaphore, std::size_t units, std::string name, std::string* log,
                std::vector<Semaphore::Permit>* held, std::stop_token stop = {}) {
  auto permit = co_await semaphore->acquire(units, stop);
  if (permit) {
    held->push_back(std::move(*permit));
    *log += name;
  } else {
    *log += "(" + name + " " + std::string(name_of(permit.error().code)) + ")";
  }
}

TEST_P(SemaphoreTest, GrantsAtOnceWhileThereIsRoom) {
  Semaphore semaphore(loop_, 3);
  std::vector<Semaphore::Permit> held;
  std::string log;
  TaskGroup group(loop_);
  group.spawn(take(&semaphore, 2, "a", &log, &held));
  group.spawn(take(&semaphore, 1, "b", &log, &held));
  EXPECT_EQ(log, "ab");
  EXPECT_EQ(semaphore.free(), 0U);
  EXPECT_EQ(semaphore.capacity(), 3U);
  held.clear();
  EXPECT_EQ(semaphore.free(), 3U);
}

TEST_P(SemaphoreTest, ServesInTheOrderOfAsking) {
  Semaphore semaphore(loop_, 2);
  std::vector<Semaphore::Permit> held;
  std::string log;
  TaskGroup group(loop_);
  group.spawn(take(&semaphore, 2, "a", &log, &held));
  group.spawn(take(&semaphore, 2, "b", &log, &held));
  group.spawn(take(&semaphore, 1, "c", &log, &held));
  EXPECT_EQ(semaphore.waiting(), 2U);
  held[0].reset();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "ab");
  held[1].reset();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "abc");
}

TEST_P(SemaphoreTest, ALargeRequestIsNotOvertakenBySmallOnes) {
  Semaphore semaphore(loop_, 4);
  auto holding = semaphore.try_acquire(3);
  ASSERT_TRUE(holding);
  std::vector<Semaphore::Permit> held;
  std::string log;
  TaskGroup group(loop_);
  group.spawn(take(&semaphore, 2, "large", &log, &held));
  group.spawn(take(&semaphore, 1, "small", &log, &held));
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "") << "one unit is free, but the large one is first";
  EXPECT_FALSE(semaphore.try_acquire(1)) << "nor does try_acquire overtake";
  holding.reset();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(held.size(), 2U);
  EXPECT_EQ(semaphore.free(), 1U);
}

TEST_P(SemaphoreTest, RefusesMoreThanThereWillEverBe) {
  Semaphore semaphore(loop_, 3);
  std::vector<Semaphore::Permit> held;
  std::string log;
  TaskGroup group(loop_);
  group.spawn(take(&semaphore, 4, "a", &log, &held));
  EXPECT_EQ(log, "(a resource_exhausted)");
  EXPECT_FALSE(semaphore.try_acquire(4));
  EXPECT_EQ(semaphore.free(), 3U);
}

TEST_P(SemaphoreTest, NoUnitsAreAlwaysThere) {
  Semaphore semaphore(loop_, 0);
  EXPECT_TRUE(semaphore.try_acquire(0));
  EXPECT_FALSE(semaphore.try_acquire(1));
}

TEST_P(SemaphoreTest, CancellingTheFirstLetsTheNextIn) {
  Semaphore semaphore(loop_, 2);
  auto holding = semaphore.try_acquire(1);
  std::vector<Semaphore::Permit> held;
  std::string log;
  std::stop_source stop;
  TaskGroup group(loop_);
  group.spawn(take(&semaphore, 2, "large", &log, &held, stop.get_token()));
  group.spawn(take(&semaphore, 1, "small", &log, &held));
  stop.request_stop();
  EXPECT_EQ(semaphore.waiting(), 0U);
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_TRUE(log == "(large cancelled)small" || log == "small(large cancelled)") << log;
  EXPECT_EQ(semaphore.free(), 0U);
}

TEST_P(SemaphoreTest, AStopThatCameBeforeIsHeededOnlyWhereOneMustWait) {
  Semaphore semaphore(loop_, 1);
  std::vector<Semaphore::Permit> held;
  std::string log;
  std::stop_source stop;
  stop.request_stop();
  TaskGroup group(loop_);
  group.spawn(take(&semaphore, 1, "a", &log, &held, stop.get_token()));
  group.spawn(take(&semaphore, 1, "b", &log, &held, stop.get_token()));
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "a(b cancelled)");
}

TEST_P(SemaphoreTest, AStopAfterTheGrantChangesNothing) {
  Semaphore semaphore(loop_, 1);
  auto holding = semaphore.try_acquire(1);
  std::vector<Semaphore::Permit> held;
  std::string log;
  std::stop_source stop;
  TaskGroup group(loop_);
  group.spawn(take(&semaphore, 1, "a", &log, &held, stop.get_token()));
  holding.reset();
  stop.request_stop();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "a");
}

TEST_P(SemaphoreTest, ADroppedWaiterMakesRoom) {
  Semaphore semaphore(loop_, 2);
  auto holding = semaphore.try_acquire(1);
  std::vector<Semaphore::Permit> held;
  std::string log;
  std::optional<TaskGroup> dropped(std::in_place, loop_);
  dropped->spawn(take(&semaphore, 2, "large", &log, &held));
  TaskGroup group(loop_);
  group.spawn(take(&semaphore, 1, "small", &log, &held));
  dropped.reset();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "small");
}

TEST_P(SemaphoreTest, UnitsGrantedToADroppedWaiterComeBack) {
  Semaphore semaphore(loop_, 1);
  auto holding = semaphore.try_acquire(1);
  std::vector<Semaphore::Permit> held;
  std::string log;
  {
    TaskGroup dropped(loop_);
    dropped.spawn(take(&semaphore, 1, "a", &log, &held));
    holding.reset();
    EXPECT_EQ(semaphore.free(), 0U) << "granted, not yet woken";
  }
  EXPECT_EQ(semaphore.free(), 1U);
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "");
}

TEST_P(SemaphoreTest, NoUnitIsLostHoweverTasksEnd) {
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  constexpr std::size_t kCapacity = 5;
  Semaphore semaphore(loop_, kCapacity);
  std::vector<Semaphore::Permit> held;
  std::string log;
  std::vector<std::stop_source> stops(200);
  std::vector<std::optional<TaskGroup>> groups(200);
  for (std::size_t i = 0; i < groups.size(); ++i) {
    groups[i].emplace(loop_);
    groups[i]->spawn(take(&semaphore, 1 + random() % kCapacity, ".", &log, &held, stops[i].get_token()));
    const std::size_t other = random() % (i + 1);
    switch (random() % 4) {
      case 0: groups[other].reset(); break;
      case 1: stops[other].request_stop(); break;
      case 2: held.clear(); break;
      default: EXPECT_TRUE(loop_.run_until_idle());
    }
  }
  // What is left takes its turn, one after the other.
  for (std::size_t i = 0; i < groups.size(); ++i) {
    EXPECT_TRUE(loop_.run_until_idle());
    held.clear();
  }
  EXPECT_EQ(semaphore.waiting(), 0U);
  EXPECT_EQ(semaphore.free(), kCapacity);
}

TEST_P(SemaphoreTest, MovingAPermitMovesTheDuty) {
  Semaphore semaphore(loop_, 2);
  auto first = semaphore.try_acquire(1);
  auto second = semaphore.try_acquire(1);
  ASSERT_TRUE(first && second);
  Semaphore::Permit moved = std::move(*first);
  EXPECT_EQ(semaphore.free(), 0U);
  moved = std::move(*second);
  EXPECT_EQ(semaphore.free(), 1U) << "what it held before is given back";
  moved.reset();
  moved.reset();
  EXPECT_EQ(semaphore.free(), 2U);
}

class GateTest : public SemaphoreTest {};
INSTANTIATE_TEST_SUITE_P(Seeds, GateTest, testing::Range(1, 4));

Task<void> close(Gate* gate, bool* closed) {
  co_await gate->close();
  *closed = true;
}

TEST_P(GateTest, ClosingWaitsUntilEverybodyHasLeft) {
  Gate gate(loop_);
  std::vector<Gate::Pass> inside;
  for (int i = 0; i < 3; ++i) {
    auto pass = gate.enter();
    ASSERT_TRUE(pass);
    inside.push_back(std::move(*pass));
  }
  EXPECT_EQ(gate.inside(), 3U);
  bool closed = false;
  auto task = close(&gate, &closed);
  task.start();
  EXPECT_FALSE(closed);
  const auto late = gate.enter();
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::unavailable);
  inside.pop_back();
  inside.pop_back();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_FALSE(closed);
  inside.pop_back();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_TRUE(closed);
}

TEST_P(GateTest, ClosingAnEmptyGateReturnsAtOnce) {
  Gate gate(loop_);
  {
    const auto pass = gate.enter();
    EXPECT_TRUE(pass);
  }
  bool closed = false;
  auto task = close(&gate, &closed);
  task.start();
  EXPECT_TRUE(closed);
}

}  // namespace
}  // namespace millrace
