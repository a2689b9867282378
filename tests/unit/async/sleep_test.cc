#include "async/sleep.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "async/sim_event_loop.h"
#include "async/task_group.h"

namespace millrace {
namespace {

using std::chrono::seconds;

Task<void> note_sleep(EventLoop* loop, EventLoop::Duration delay, std::string name, std::string* log,
                      std::stop_token stop = {}) {
  const auto slept = co_await sleep_for(*loop, delay, stop);
  *log += slept ? name : "(" + name + " " + std::string(name_of(slept.error().code)) + ")";
}

TEST(SleepFor, TakesExactlyItsTime) {
  SimEventLoop loop;
  TaskGroup group(loop);
  std::string log;
  group.spawn(note_sleep(&loop, seconds(2), "b", &log));
  group.spawn(note_sleep(&loop, seconds(1), "a", &log));
  loop.run_for(seconds(1) - std::chrono::nanoseconds(1));
  EXPECT_EQ(log, "");
  loop.run_for(std::chrono::nanoseconds(1));
  EXPECT_EQ(log, "a");
  loop.run_for(seconds(1));
  EXPECT_EQ(log, "ab");
}

TEST(SleepFor, EndsAtOnceWhenStopped) {
  SimEventLoop loop;
  TaskGroup group(loop);
  std::string log;
  std::stop_source stop;
  group.spawn(note_sleep(&loop, seconds(10), "a", &log, stop.get_token()));
  loop.run_for(seconds(1));
  stop.request_stop();
  loop.run_for(seconds(0));
  EXPECT_EQ(log, "(a cancelled)");
  group.spawn(note_sleep(&loop, seconds(10), "b", &log, stop.get_token()));
  EXPECT_EQ(log, "(a cancelled)(b cancelled)") << "a stop that came before is heeded too";
  const auto before = loop.now();
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(loop.now(), before) << "no timer is left behind";
}

TEST(SleepFor, ADroppedSleepLeavesNoTimer) {
  SimEventLoop loop;
  std::string log;
  {
    TaskGroup group(loop);
    group.spawn(note_sleep(&loop, seconds(10), "a", &log));
  }
  const auto before = loop.now();
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(loop.now(), before);
  EXPECT_EQ(log, "");
}

Task<void> note_after_yield(EventLoop* loop, std::string* log) {
  co_await yield(*loop);
  *log += "yielded";
}

TEST(Yield, LetsThePostedRunFirst) {
  SimEventLoop loop;
  TaskGroup group(loop);
  std::string log;
  group.spawn(note_after_yield(&loop, &log));
  EXPECT_EQ(log, "");
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(log, "yielded");
}

TEST(Deadline, ExpiresOnceItsTimeIsOver) {
  SimEventLoop loop;
  const Deadline deadline(loop, seconds(5));
  EXPECT_FALSE(deadline.expired());
  loop.run_for(seconds(5) - std::chrono::nanoseconds(1));
  EXPECT_FALSE(deadline.token().stop_requested());
  loop.run_for(std::chrono::nanoseconds(1));
  EXPECT_TRUE(deadline.token().stop_requested());
  EXPECT_TRUE(deadline.expired());
}

TEST(Deadline, StopsWithItsParentButHasNotExpired) {
  SimEventLoop loop;
  std::stop_source parent;
  const Deadline deadline(loop, seconds(5), parent.get_token());
  parent.request_stop();
  EXPECT_TRUE(deadline.token().stop_requested());
  EXPECT_FALSE(deadline.expired());
  const Deadline late(loop, seconds(5), parent.get_token());
  EXPECT_TRUE(late.token().stop_requested());
}

TEST(Deadline, StopsByHand) {
  SimEventLoop loop;
  Deadline deadline(loop, seconds(5));
  deadline.request_stop();
  EXPECT_TRUE(deadline.token().stop_requested());
  EXPECT_FALSE(deadline.expired());
}

TEST(Deadline, TakesItsTimerAlong) {
  SimEventLoop loop;
  std::stop_token token;
  {
    const Deadline deadline(loop, seconds(5));
    token = deadline.token();
  }
  const auto before = loop.now();
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(loop.now(), before);
  EXPECT_FALSE(token.stop_requested());
}

TEST(Deadline, BoundsAWait) {
  SimEventLoop loop;
  TaskGroup group(loop);
  std::string log;
  std::optional<Deadline> deadline(std::in_place, loop, seconds(3));
  group.spawn(note_sleep(&loop, seconds(10), "a", &log, deadline->token()));
  loop.run_for(seconds(3));
  EXPECT_EQ(log, "(a cancelled)");
}

TEST(AnyStop, StopsWithEither) {
  std::stop_source one;
  std::stop_source other;
  const AnyStop first(one.get_token(), other.get_token());
  const AnyStop second(other.get_token(), one.get_token());
  const AnyStop neither({}, {});
  EXPECT_FALSE(first.token().stop_requested());
  one.request_stop();
  EXPECT_TRUE(first.token().stop_requested());
  EXPECT_TRUE(second.token().stop_requested());
  other.request_stop();
  EXPECT_TRUE(AnyStop(one.get_token(), other.get_token()).token().stop_requested());
  EXPECT_FALSE(neither.token().stop_requested());
}

}  // namespace
}  // namespace millrace
