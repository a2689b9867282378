#include "async/call_on.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "async/sleep.h"
#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "core/error.h"
#include "tests/support/run_task.h"

namespace millrace {
namespace {

using test::run_task;

// A loop on a thread of its own, as the domain is for an io thread.
struct OtherLoop {
  UvEventLoop loop;
  std::jthread thread{[this] { loop.run(); }};
  ~OtherLoop() { loop.stop(); }
};

Task<std::unique_ptr<int>> make_value(UvEventLoop& loop, std::atomic<bool>& right_thread) {
  right_thread = loop.on_loop_thread();
  co_await yield(loop);
  co_return std::make_unique<int>(7);
}

TEST(CallOn, RunsThereAndBringsTheValueBack) {
  UvEventLoop home;
  OtherLoop other;
  std::atomic<bool> right_thread = false;
  auto value = run_task(
      home, call_on(other.loop, home, {}, [&](std::stop_token) { return make_value(other.loop, right_thread); }));
  EXPECT_EQ(*value, 7);
  EXPECT_TRUE(right_thread);
}

Task<int> at_once() {
  co_return 3;
}

TEST(CallOn, TakesTasksThatNeverWait) {
  UvEventLoop home;
  OtherLoop other;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(run_task(home, call_on(other.loop, home, {}, [](std::stop_token) { return at_once(); })), 3);
  }
}

Task<Result<void>> sleep_long(UvEventLoop& loop, std::stop_token stop, std::atomic<int>& started,
                              std::atomic<int>& stopped_here) {
  ++started;
  auto slept = co_await sleep_for(loop, std::chrono::hours(1), stop);
  if (!slept && loop.on_loop_thread()) ++stopped_here;
  co_return slept;
}

struct Sleeper {
  UvEventLoop home;
  OtherLoop other;
  std::atomic<int> started = 0;
  std::atomic<int> stopped_there = 0;

  Task<void> call(std::stop_token stop, std::optional<Result<void>>& result) {
    auto slept = co_await call_on(other.loop, home, stop, [this](std::stop_token there) {
      return sleep_long(other.loop, there, started, stopped_there);
    });
    result.emplace(std::move(slept));
  }

  void await(const std::atomic<int>& count) {
    while (count == 0) run_task(home, yield(home));
  }
};

TEST(CallOn, CarriesTheStopOver) {
  Sleeper sleeper;
  TaskGroup group(sleeper.home);
  std::optional<Result<void>> result;
  group.spawn(sleeper.call(group.stop_token(), result));
  sleeper.await(sleeper.started);
  group.request_stop();
  run_task(sleeper.home, group.join());
  ASSERT_TRUE(result);
  ASSERT_FALSE(*result);
  EXPECT_EQ(result->error().code, Errc::cancelled);
  EXPECT_EQ(sleeper.stopped_there, 1);
}

TEST(CallOn, AStopThatCameBeforeIsSeen) {
  Sleeper sleeper;
  TaskGroup group(sleeper.home);
  group.request_stop();
  std::optional<Result<void>> result;
  group.spawn(sleeper.call(group.stop_token(), result));
  run_task(sleeper.home, group.join());
  ASSERT_TRUE(result);
  EXPECT_FALSE(*result);
}

TEST(CallOn, DroppingTheCallerStopsTheTaskAndNeedsItsLoopNoMore) {
  OtherLoop other;
  std::atomic<int> started = 0;
  std::atomic<int> stopped_there = 0;
  {
    UvEventLoop home;
    TaskGroup group(home);
    struct Caller {
      static Task<void> call(UvEventLoop& home, UvEventLoop& target, std::atomic<int>& started,
                             std::atomic<int>& stopped) {
        const auto slept = co_await call_on(
            target, home, {}, [&](std::stop_token there) { return sleep_long(target, there, started, stopped); });
        ADD_FAILURE() << slept.has_value();
      }
    };
    group.spawn(Caller::call(home, other.loop, started, stopped_there));
    while (started == 0) run_task(home, yield(home));
  }
  while (stopped_there == 0) std::this_thread::yield();
}

TEST(CallOn, DestroysWhatTheTaskHoldsOnItsOwnLoop) {
  UvEventLoop home;
  OtherLoop other;
  struct Witness {
    UvEventLoop* loop;
    std::atomic<int>* right;
    ~Witness() { *right += loop->on_loop_thread() ? 1 : 100; }
  };
  struct Hold {
    static Task<int> task(std::shared_ptr<Witness> witness) {
      const auto local = std::make_shared<Witness>(*witness);
      co_return 1;
    }
  };
  std::atomic<int> right = 0;
  {
    // Made there, so that no copy of it dies here.
    const auto value = run_task(home, call_on(other.loop, home, {}, [&](std::stop_token) {
                                  return Hold::task(std::make_shared<Witness>(&other.loop, &right));
                                }));
    EXPECT_EQ(value, 1);
  }
  while (right < 2) std::this_thread::yield();
  EXPECT_EQ(right, 2);
}

}  // namespace
}  // namespace millrace
