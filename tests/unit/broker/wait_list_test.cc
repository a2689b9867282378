#include "broker/wait_list.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/sim_event_loop.h"
#include "async/task.h"
#include "async/task_group.h"

namespace millrace {
namespace {

struct Bench {
  SimEventLoop loop;
  std::optional<WaitList> list{loop};
  TaskGroup group{loop};
  std::string woken;

  Task<void> sleeper(char name, std::stop_token stop, std::uint64_t ticket) {
    co_await list->wait(std::move(stop), ticket);
    woken += name;
  }
  void sleep(char name, std::stop_token stop = {}, std::uint64_t ticket = 0) {
    group.spawn(sleeper(name, std::move(stop), ticket));
  }
};

TEST(WaitList, WakesTheLongestSleepersInALaterStep) {
  Bench bench;
  for (const char name : {'a', 'b', 'c'}) bench.sleep(name);
  bench.list->wake(2);
  EXPECT_EQ(bench.woken, "");
  bench.loop.run_for({});
  EXPECT_EQ(bench.woken, "ab");
  bench.list->wake(5);
  bench.loop.run_for({});
  EXPECT_EQ(bench.woken, "abc");
  EXPECT_TRUE(bench.list->empty());
}

TEST(WaitList, StopWakesItsOwnSleeperOnly) {
  Bench bench;
  std::stop_source stop;
  bench.sleep('a');
  bench.sleep('b', stop.get_token());
  stop.request_stop();
  bench.loop.run_for({});
  EXPECT_EQ(bench.woken, "b");
  bench.sleep('c', stop.get_token());
  EXPECT_EQ(bench.woken, "bc") << "stopped before: does not sleep";
}

TEST(WaitList, SleeperThatIsWokenAndStoppedResumesOnce) {
  Bench bench;
  std::stop_source stop;
  bench.sleep('a', stop.get_token());
  bench.list->wake_all();
  stop.request_stop();
  bench.loop.run_for({});
  EXPECT_EQ(bench.woken, "a");
}

TEST(WaitList, RunUntilResumesAtOnceWhatIsDue) {
  Bench bench;
  bench.sleep('a', {}, 1);
  bench.sleep('b', {}, 2);
  bench.sleep('c', {}, 3);
  bench.list->run_until(2);
  EXPECT_EQ(bench.woken, "ab");
  bench.list->run_until(2);
  EXPECT_EQ(bench.woken, "ab");
}

Task<void> destroy_other(WaitList& list, std::unique_ptr<TaskGroup>& other) {
  co_await list.wait();
  other.reset();
}

Task<void> never(WaitList& list, bool& resumed) {
  co_await list.wait();
  resumed = true;
}

TEST(WaitList, SleeperMayBeDestroyedWhileItIsAboutToWake) {
  SimEventLoop loop;
  WaitList list(loop);
  TaskGroup group(loop);
  auto other = std::make_unique<TaskGroup>(loop);
  bool resumed = false;
  group.spawn(destroy_other(list, other));
  other->spawn(never(list, resumed));
  list.wake_all();
  loop.run_for({});
  EXPECT_EQ(other, nullptr);
  EXPECT_FALSE(resumed);
}

TEST(WaitList, ListMayGoBeforeItsSleepers) {
  Bench bench;
  std::stop_source stop;
  bench.sleep('a');
  bench.sleep('b', stop.get_token());
  bench.list->wake(1);
  bench.list.reset();
  bench.loop.run_for({});
  stop.request_stop();
  EXPECT_EQ(bench.woken, "");
}

}  // namespace
}  // namespace millrace
