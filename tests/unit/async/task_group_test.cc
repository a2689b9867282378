#include "async/task_group.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "async/sim_event_loop.h"
#include "async/sleep.h"

namespace millrace {
namespace {

using std::chrono::seconds;

Task<void> wait(EventLoop* loop, EventLoop::Duration time, int* finished) {
  (void)co_await sleep_for(*loop, time);
  ++*finished;
}

Task<void> wait_until_stopped(EventLoop* loop, std::stop_token stop, bool* stopped) {
  const auto slept = co_await sleep_for(*loop, std::chrono::hours(24), stop);
  *stopped = !slept && slept.error().code == Errc::cancelled;
}

Task<void> join_all(TaskGroup* group, bool* joined) {
  co_await group->join();
  *joined = true;
}

TEST(TaskGroup, RunsATaskToItsFirstSuspensionAtOnce) {
  SimEventLoop loop;
  TaskGroup group(loop);
  bool ran = false;
  group.spawn([](bool* out) -> Task<void> {
    *out = true;
    co_return;
  }(&ran));
  EXPECT_TRUE(ran);
  EXPECT_EQ(group.size(), 0U);
}

TEST(TaskGroup, JoinReturnsWhenAllHaveFinished) {
  SimEventLoop loop;
  TaskGroup group(loop);
  int finished = 0;
  for (int i = 0; i < 10; ++i) group.spawn(wait(&loop, seconds(i), &finished));
  EXPECT_EQ(group.size(), 10U);
  bool joined = false;
  auto join = join_all(&group, &joined);
  join.start();
  loop.run_for(seconds(8));
  EXPECT_EQ(finished, 9);
  EXPECT_FALSE(joined);
  loop.run_for(seconds(1));
  EXPECT_EQ(finished, 10);
  EXPECT_TRUE(joined);
  EXPECT_EQ(group.size(), 0U);
}

TEST(TaskGroup, JoinOfAnEmptyGroupReturnsAtOnce) {
  SimEventLoop loop;
  TaskGroup group(loop);
  bool joined = false;
  auto join = join_all(&group, &joined);
  join.start();
  EXPECT_TRUE(joined);
}

Task<void> spawn_chain(TaskGroup* group, EventLoop* loop, int depth, int* finished) {
  (void)co_await sleep_for(*loop, seconds(1));
  if (depth > 0) group->spawn(spawn_chain(group, loop, depth - 1, finished));
  ++*finished;
}

TEST(TaskGroup, JoinWaitsForTasksThatTasksSpawn) {
  SimEventLoop loop;
  TaskGroup group(loop);
  int finished = 0;
  group.spawn(spawn_chain(&group, &loop, 5, &finished));
  bool joined = false;
  auto join = join_all(&group, &joined);
  join.start();
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_TRUE(joined);
  EXPECT_EQ(finished, 6);
}

Task<void> spawn_at_once(TaskGroup* group, int depth, int* finished) {
  if (depth > 0) group->spawn(spawn_at_once(group, depth - 1, finished));
  ++*finished;
  co_return;
}

TEST(TaskGroup, TasksMaySpawnFromWithinTheirStart) {
  SimEventLoop loop;
  TaskGroup group(loop);
  int finished = 0;
  group.spawn(spawn_at_once(&group, 100, &finished));
  EXPECT_EQ(finished, 101);
  EXPECT_EQ(group.size(), 0U);
}

TEST(TaskGroup, CanBeUsedAgainAfterAJoin) {
  SimEventLoop loop;
  TaskGroup group(loop);
  int finished = 0;
  for (int round = 0; round < 3; ++round) {
    group.spawn(wait(&loop, seconds(1), &finished));
    bool joined = false;
    auto join = join_all(&group, &joined);
    join.start();
    EXPECT_TRUE(loop.run_until_idle());
    EXPECT_TRUE(joined);
  }
  EXPECT_EQ(finished, 3);
}

TEST(TaskGroup, StopReachesEveryTask) {
  SimEventLoop loop;
  TaskGroup group(loop);
  bool first = false;
  bool second = false;
  group.spawn(wait_until_stopped(&loop, group.stop_token(), &first));
  group.spawn(wait_until_stopped(&loop, group.stop_token(), &second));
  group.request_stop();
  bool joined = false;
  auto join = join_all(&group, &joined);
  join.start();
  loop.run_for(seconds(1));
  EXPECT_TRUE(joined);
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
}

TEST(TaskGroup, StopsWithItsParent) {
  SimEventLoop loop;
  std::stop_source parent;
  TaskGroup group(loop, parent.get_token());
  TaskGroup other(loop);
  EXPECT_FALSE(group.stop_token().stop_requested());
  parent.request_stop();
  EXPECT_TRUE(group.stop_token().stop_requested());
  EXPECT_FALSE(other.stop_token().stop_requested());
  const TaskGroup late(loop, parent.get_token());
  EXPECT_TRUE(late.stop_token().stop_requested());
}

TEST(TaskGroup, DestroyingItDestroysWhatStillRuns) {
  SimEventLoop loop;
  auto held = std::make_shared<int>(1);
  int finished = 0;
  {
    TaskGroup group(loop);
    group.spawn([](EventLoop* on, std::shared_ptr<int>, int* out) -> Task<void> { co_await wait(on, seconds(1), out); }(
                                                                      &loop, held, &finished));
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(finished, 0);
}

TEST(TaskGroup, ParametersOfAFinishedTaskAreGone) {
  SimEventLoop loop;
  TaskGroup group(loop);
  auto held = std::make_shared<int>(1);
  group.spawn([](std::shared_ptr<int>) -> Task<void> { co_return; }(held));
  EXPECT_EQ(held.use_count(), 1) << "although the group has not been joined";
}

TEST(TaskGroup, ManyTasksAtOnceStayCheapToStart) {
  constexpr int kTasks = 100'000;  // a look at each of the others per start would take minutes
  SimEventLoop loop;
  TaskGroup group(loop);
  int finished = 0;
  for (int i = 0; i < kTasks; ++i) group.spawn(wait(&loop, seconds(1), &finished));
  EXPECT_EQ(group.size(), static_cast<std::size_t>(kTasks));
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(finished, kTasks);
}

}  // namespace
}  // namespace millrace
