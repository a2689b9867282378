#include "async/task.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "async/one_shot.h"
#include "async/sim_event_loop.h"
#include "core/error.h"

namespace millrace {
namespace {

Task<int> answer() {
  co_return 42;
}

Task<Result<std::string>> refuse() {
  co_return fail(Errc::not_found, "no such name");
}

Task<std::unique_ptr<int>> move_only() {
  co_return std::make_unique<int>(7);
}

Task<void> note(std::string* log, std::string text) {
  *log += text;
  co_return;
}

// Counts the objects of this type that exist.
struct Tracked {
  explicit Tracked(int* count) : count_(count) { ++*count_; }
  Tracked(Tracked&& other) noexcept : count_(std::exchange(other.count_, nullptr)) {}
  Tracked& operator=(Tracked&&) = delete;
  ~Tracked() {
    if (count_ != nullptr) --*count_;
  }

 private:
  int* count_;
};

TEST(Task, RunsNothingBeforeItIsAwaited) {
  std::string log;
  {
    const auto task = note(&log, "ran");
    EXPECT_FALSE(task.done());
  }
  EXPECT_EQ(log, "");
}

TEST(Task, GivesItsValueToTheAwaiter) {
  int number = 0;
  bool failed = false;
  std::unique_ptr<int> owned;
  auto test = [](int* number_out, bool* failed_out, std::unique_ptr<int>* owned_out) -> Task<void> {
    *number_out = co_await answer();
    const auto name = co_await refuse();
    *failed_out = !name && name.error().code == Errc::not_found;
    *owned_out = co_await move_only();
  }(&number, &failed, &owned);
  test.start();
  EXPECT_TRUE(test.done());
  EXPECT_EQ(number, 42);
  EXPECT_TRUE(failed);
  ASSERT_TRUE(owned);
  EXPECT_EQ(*owned, 7);
}

TEST(Task, AwaitsInOrder) {
  std::string log;
  auto test = [](std::string* out) -> Task<void> {
    co_await note(out, "a");
    co_await note(out, "b");
    co_await note(out, "c");
  }(&log);
  test.start();
  EXPECT_EQ(log, "abc");
}

Task<long> sum_of_ready_awaits(int count) {
  long sum = 0;
  for (int i = 0; i < count; ++i) {
    const int one = co_await answer();
    sum += one;
  }
  co_return sum;
}

TEST(Task, AMillionReadyAwaitsDoNotGrowTheStack) {
  long sum = 0;
  auto test = [](long* out) -> Task<void> { *out = co_await sum_of_ready_awaits(1'000'000); }(&sum);
  test.start();
  EXPECT_TRUE(test.done());
  EXPECT_EQ(sum, 42'000'000);
}

TEST(Task, AMillionAwaitsThatWaitDoNotGrowTheStack) {
  SimEventLoop loop;
  int rounds = 0;
  auto test = [](SimEventLoop* on, int* out) -> Task<void> {
    for (; *out < 1'000'000; ++*out) {
      const OneShot<int> shot(*on);
      on->post([shot] { shot.set(1); });
      co_await shot.wait();
    }
  }(&loop, &rounds);
  test.start();
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_TRUE(test.done());
  EXPECT_EQ(rounds, 1'000'000);
}

Task<int> nested(int depth) {
  if (depth == 0) co_return 0;
  const int below = co_await nested(depth - 1);
  co_return below + 1;
}

TEST(Task, NestedTasksReturnThroughAllLevels) {
  int depth = 0;
  auto test = [](int* out) -> Task<void> { *out = co_await nested(1000); }(&depth);
  test.start();
  EXPECT_EQ(depth, 1000);
}

Task<int> nested_wait(OneShot<int> shot, int depth) {
  if (depth == 0) {
    const int value = co_await shot.wait();
    co_return value;
  }
  const int below = co_await nested_wait(shot, depth - 1);
  co_return below + 1;
}

TEST(Task, ResumesThroughAllLevelsAfterWaiting) {
  SimEventLoop loop;
  const OneShot<int> shot(loop);
  int value = 0;
  auto test = [](OneShot<int> wake, int* out) -> Task<void> { *out = co_await nested_wait(wake, 500); }(shot, &value);
  test.start();
  EXPECT_FALSE(test.done());
  shot.set(1000);
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_TRUE(test.done());
  EXPECT_EQ(value, 1500);
}

TEST(Task, DroppingASuspendedTaskDestroysEverythingInIt) {
  SimEventLoop loop;
  const OneShot<int> shot(loop);
  int alive = 0;
  {
    auto task = [](int* count, OneShot<int> wake) -> Task<void> {
      const Tracked outer(count);
      auto inner = [](int* inner_count, OneShot<int> inner_wake) -> Task<void> {
        const Tracked tracked(inner_count);
        co_await inner_wake.wait();
      }(count, wake);
      co_await inner;
    }(&alive, shot);
    task.start();
    EXPECT_EQ(alive, 2);
    EXPECT_FALSE(task.done());
  }
  EXPECT_EQ(alive, 0);
  EXPECT_TRUE(shot.set(1)) << "nobody is woken, nothing is touched";
  EXPECT_TRUE(loop.run_until_idle());
}

TEST(Task, DroppingATaskThatNeverRanDestroysItsParameters) {
  int alive = 0;
  SimEventLoop loop;
  {
    const auto task = [](Tracked) -> Task<void> { co_return; }(Tracked(&alive));
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

TEST(Task, MovingATaskMovesItsOwnership) {
  std::string log;
  auto first = note(&log, "x");
  Task<void> second = std::move(first);
  EXPECT_TRUE(first.done());  // NOLINT(bugprone-use-after-move): a moved-from task is done
  second.start();
  EXPECT_TRUE(second.done());
  second = note(&log, "never run");
  EXPECT_FALSE(second.done());
  EXPECT_EQ(log, "x");
  EXPECT_TRUE(Task<int>().done());
}

}  // namespace
}  // namespace millrace
