#include "async/blocking_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "core/error.h"

namespace millrace {
namespace {

Task<void> join_and_stop(TaskGroup* group, UvEventLoop* loop) {
  co_await group->join();
  loop->stop();
}

// Runs the loop until every task of the group has finished.
void finish(UvEventLoop& loop, TaskGroup& group) {
  TaskGroup waiter(loop);
  waiter.spawn(join_and_stop(&group, &loop));
  loop.run();
}

Task<void> compute(BlockingPool* pool, UvEventLoop* loop, int input, int* sum) {
  const auto square = co_await pool->run([input, loop]() -> Result<int> {
    EXPECT_FALSE(loop->on_loop_thread());
    return input * input;
  });
  EXPECT_TRUE(loop->on_loop_thread());
  *sum += square.value_or(0);
}

TEST(BlockingPool, RunsOnAThreadAndResumesOnTheLoop) {
  UvEventLoop loop;
  BlockingPool pool(loop, {.threads = 3, .queued_max = 8});
  int sum = 0;
  int expected = 0;
  TaskGroup group(loop);
  for (int i = 0; i < 200; ++i) {
    group.spawn(compute(&pool, &loop, i, &sum));
    expected += i * i;
  }
  finish(loop, group);
  EXPECT_EQ(sum, expected);
}

Task<void> take_results(BlockingPool* pool, std::string* error, std::unique_ptr<int>* owned) {
  const auto failed = co_await pool->run([]() -> Result<int> { return fail(Errc::no_space, "disk full"); });
  if (!failed) *error = failed.error().message;
  auto moved = co_await pool->run([value = std::make_unique<int>(7)]() mutable { return std::move(value); });
  *owned = std::move(moved);
}

TEST(BlockingPool, GivesErrorsAndMoveOnlyValuesBack) {
  UvEventLoop loop;
  BlockingPool pool(loop, {.threads = 1, .queued_max = 8});
  std::string error;
  std::unique_ptr<int> owned;
  TaskGroup group(loop);
  group.spawn(take_results(&pool, &error, &owned));
  finish(loop, group);
  EXPECT_EQ(error, "disk full");
  ASSERT_TRUE(owned);
  EXPECT_EQ(*owned, 7);
}

Task<void> meet(BlockingPool* pool, std::latch* all, int* met) {
  *met += co_await pool->run([all] {
    all->arrive_and_wait();
    return 1;
  });
}

TEST(BlockingPool, UsesAllItsThreadsAtOnce) {
  UvEventLoop loop;
  BlockingPool pool(loop, {.threads = 4, .queued_max = 8});
  std::latch all(4);  // nobody passes before four are there
  int met = 0;
  TaskGroup group(loop);
  for (int i = 0; i < 4; ++i) group.spawn(meet(&pool, &all, &met));
  finish(loop, group);
  EXPECT_EQ(met, 4);
}

// What threads of the pool do, and how many calls they were given at most at the same time.
struct Seen {
  std::latch open{1};
  std::atomic<int> started = 0;
  std::atomic<int> finished = 0;
};

Task<void> block(BlockingPool* pool, std::shared_ptr<Seen> seen) {
  (void)co_await pool->run([seen] {
    ++seen->started;
    seen->open.wait();
    ++seen->finished;
    return true;
  });
}

// A call whose caller is gone before it is answered.
void call_and_leave(UvEventLoop& loop, BlockingPool& pool, const std::shared_ptr<Seen>& seen) {
  TaskGroup dropped(loop);
  dropped.spawn(block(&pool, seen));
}

// Threads are woken when the loop has nothing else to do.
void come_to_rest(UvEventLoop& loop) {
  loop.post([&loop] { loop.stop(); });
  loop.run();
}

TEST(BlockingPool, AdmitsNoMoreThanItsBound) {
  UvEventLoop loop;
  const auto seen = std::make_shared<Seen>();
  BlockingPool pool(loop, {.threads = 4, .queued_max = 2});
  TaskGroup group(loop);
  for (int i = 0; i < 6; ++i) group.spawn(block(&pool, seen));
  come_to_rest(loop);
  while (seen->started < 2) std::this_thread::yield();
  EXPECT_EQ(seen->started, 2) << "two threads are idle, but only two calls are admitted";
  seen->open.count_down();
  finish(loop, group);
  EXPECT_EQ(seen->finished, 6);
}

TEST(BlockingPool, AResultNobodyWaitsForIsThrownAway) {
  UvEventLoop loop;
  const auto seen = std::make_shared<Seen>();
  {
    BlockingPool pool(loop, {.threads = 1, .queued_max = 4});
    call_and_leave(loop, pool, seen);
    call_and_leave(loop, pool, seen);
    seen->open.count_down();
    int sum = 0;
    TaskGroup group(loop);
    group.spawn(compute(&pool, &loop, 3, &sum));
    finish(loop, group);
    EXPECT_EQ(sum, 9);
  }
  EXPECT_EQ(seen->finished, 2) << "what was begun is run to its end";
}

TEST(BlockingPool, ACallNobodyWaitsForKeepsItsPlaceUntilItHasEnded) {
  UvEventLoop loop;
  const auto seen = std::make_shared<Seen>();
  std::optional<BlockingPool> pool(std::in_place, loop, BlockingPool::Options{.threads = 1, .queued_max = 1});
  call_and_leave(loop, *pool, seen);
  come_to_rest(loop);
  while (seen->started < 1) std::this_thread::yield();
  call_and_leave(loop, *pool, seen);  // before it is admitted, so it is never run
  seen->open.count_down();
  pool.reset();
  EXPECT_EQ(seen->started, 1) << "the first held the only place";
}

TEST(BlockingPool, APlaceThatIsFreeAgainGoesToWhoeverWaits) {
  UvEventLoop loop;
  const auto seen = std::make_shared<Seen>();
  BlockingPool pool(loop, {.threads = 1, .queued_max = 1});
  call_and_leave(loop, pool, seen);
  TaskGroup group(loop);
  int sum = 0;
  group.spawn(compute(&pool, &loop, 4, &sum));
  seen->open.count_down();
  finish(loop, group);
  EXPECT_EQ(sum, 16);
}

TEST(BlockingPool, DestroyingItFinishesWhatIsQueued) {
  UvEventLoop loop;
  const auto seen = std::make_shared<Seen>();
  std::optional<BlockingPool> pool(std::in_place, loop, BlockingPool::Options{.threads = 1, .queued_max = 100});
  {
    TaskGroup dropped(loop);
    for (int i = 0; i < 50; ++i) dropped.spawn(block(&*pool, seen));
  }
  seen->open.count_down();
  pool.reset();
  EXPECT_EQ(seen->finished, 50);
}

TEST(BlockingPool, MayBeDestroyedUnused) {
  UvEventLoop loop;
  const BlockingPool pool(loop, {});
}

}  // namespace
}  // namespace millrace
