#include "async/channel.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/sim_event_loop.h"
#include "async/task_group.h"

namespace millrace {
namespace {

// Every test runs in several orders of what is ready together.
class ChannelTest : public testing::TestWithParam<int> {
 protected:
  SimEventLoop loop_{static_cast<std::uint64_t>(GetParam())};
};
INSTANTIATE_TEST_SUITE_P(Seeds, ChannelTest, testing::Range(1, 6));

Task<void> push(Channel<int>* channel, int item, std::string* log, std::stop_token stop = {}) {
  const auto pushed = co_await channel->push(item, stop);
  *log += pushed ? "+" + std::to_string(item) : "!" + std::string(name_of(pushed.error().code));
}

Task<void> pop(Channel<int>* channel, std::vector<int>* items, std::string* log, std::stop_token stop = {}) {
  const auto item = co_await channel->pop(stop);
  if (item) {
    items->push_back(*item);
  } else {
    *log += "!" + std::string(name_of(item.error().code));
  }
}

Task<void> pop_all(Channel<int>* channel, std::vector<int>* items, std::string* log) {
  for (;;) {
    const auto item = co_await channel->pop();
    if (!item) {
      *log += "!" + std::string(name_of(item.error().code));
      co_return;
    }
    items->push_back(*item);
  }
}

Task<void> push_range(Channel<int>* channel, int begin, int end) {
  for (int i = begin; i < end; ++i) {
    const auto pushed = co_await channel->push(i);
    if (!pushed) co_return;
  }
}

TEST_P(ChannelTest, GivesWhatWasPushedInOrder) {
  Channel<int> channel(loop_, 3);
  EXPECT_TRUE(channel.try_push(1));
  EXPECT_TRUE(channel.try_push(2));
  EXPECT_TRUE(channel.try_push(3));
  EXPECT_FALSE(channel.try_push(4)) << "full";
  EXPECT_EQ(channel.size(), 3U);
  std::vector<int> items;
  std::string log;
  TaskGroup group(loop_);
  for (int i = 0; i < 3; ++i) group.spawn(pop(&channel, &items, &log));
  EXPECT_EQ(items, (std::vector{1, 2, 3}));
  EXPECT_EQ(channel.size(), 0U);
}

TEST_P(ChannelTest, PushWaitsWhileItIsFull) {
  Channel<int> channel(loop_, 1);
  std::string log;
  std::vector<int> items;
  TaskGroup group(loop_);
  group.spawn(push(&channel, 1, &log));
  group.spawn(push(&channel, 2, &log));
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "+1");
  group.spawn(pop(&channel, &items, &log));
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "+1+2");
  EXPECT_EQ(items, std::vector{1});
  EXPECT_EQ(channel.size(), 1U);
}

TEST_P(ChannelTest, PopWaitsWhileItIsEmpty) {
  Channel<int> channel(loop_, 2);
  std::string log;
  std::vector<int> items;
  TaskGroup group(loop_);
  group.spawn(pop(&channel, &items, &log));
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_TRUE(items.empty());
  EXPECT_TRUE(channel.try_push(7));
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(items, std::vector{7});
}

TEST_P(ChannelTest, LosesAndDoublesNothingBetweenManyTasks) {
  Channel<int> channel(loop_, 2);
  std::string log;
  std::vector<int> items;
  TaskGroup group(loop_);
  for (int i = 0; i < 4; ++i) group.spawn(pop_all(&channel, &items, &log));
  for (int i = 0; i < 4; ++i) group.spawn(push_range(&channel, i * 100, (i + 1) * 100));
  EXPECT_TRUE(loop_.run_until_idle());
  channel.close();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "!unavailable!unavailable!unavailable!unavailable");
  std::vector<int> expected(400);
  for (int i = 0; i < 400; ++i) expected[static_cast<std::size_t>(i)] = i;
  std::ranges::sort(items);
  EXPECT_EQ(items, expected);
}

TEST_P(ChannelTest, AfterCloseWhatIsInsideCanStillBeTaken) {
  Channel<int> channel(loop_, 2);
  std::string log;
  std::vector<int> items;
  TaskGroup group(loop_);
  EXPECT_TRUE(channel.try_push(1));
  channel.close();
  EXPECT_FALSE(channel.try_push(2));
  group.spawn(push(&channel, 3, &log));
  EXPECT_EQ(log, "!unavailable");
  group.spawn(pop_all(&channel, &items, &log));
  EXPECT_EQ(items, std::vector{1});
  EXPECT_EQ(log, "!unavailable!unavailable");
}

TEST_P(ChannelTest, CloseRefusesAPushThatWaits) {
  Channel<int> channel(loop_, 1);
  std::string log;
  std::vector<int> items;
  TaskGroup group(loop_);
  EXPECT_TRUE(channel.try_push(1));
  group.spawn(push(&channel, 2, &log));
  channel.close();
  group.spawn(pop(&channel, &items, &log));
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "!unavailable");
  EXPECT_EQ(items, std::vector{1});
}

TEST_P(ChannelTest, StopEndsAPushAndAPopThatWait) {
  Channel<int> channel(loop_, 1);
  std::string log;
  std::vector<int> items;
  std::stop_source stop;
  TaskGroup group(loop_);
  group.spawn(pop(&channel, &items, &log, stop.get_token()));
  stop.request_stop();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "!cancelled");

  std::stop_source other;
  EXPECT_TRUE(channel.try_push(1));
  group.spawn(push(&channel, 2, &log, other.get_token()));
  other.request_stop();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(log, "!cancelled!cancelled");
  EXPECT_EQ(channel.size(), 1U);
}

TEST_P(ChannelTest, AStoppedSleeperDoesNotSwallowAnItem) {
  Channel<int> channel(loop_, 2);
  std::string log;
  std::vector<int> items;
  std::stop_source stop;
  TaskGroup group(loop_);
  group.spawn(pop(&channel, &items, &log, stop.get_token()));
  group.spawn(pop(&channel, &items, &log));
  stop.request_stop();
  EXPECT_TRUE(channel.try_push(1));
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(items, std::vector{1});
  EXPECT_EQ(channel.size(), 0U);
}

TEST_P(ChannelTest, ADroppedSleeperDoesNotSwallowAWakeUp) {
  Channel<int> channel(loop_, 2);
  std::string log;
  std::vector<int> items;
  TaskGroup group(loop_);
  {
    TaskGroup dropped(loop_);
    dropped.spawn(pop(&channel, &items, &log));
    group.spawn(pop(&channel, &items, &log));
  }
  EXPECT_TRUE(channel.try_push(1));
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(items, std::vector{1});
}

TEST_P(ChannelTest, ASleeperDroppedAfterItsWakeUpPassesItOn) {
  Channel<int> channel(loop_, 2);
  std::string log;
  std::vector<int> items;
  TaskGroup group(loop_);
  {
    TaskGroup dropped(loop_);
    dropped.spawn(pop(&channel, &items, &log));
    group.spawn(pop(&channel, &items, &log));
    EXPECT_TRUE(channel.try_push(1));
  }
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(items, std::vector{1});
}

TEST_P(ChannelTest, ADroppedPushGivesItsRoomBack) {
  Channel<int> channel(loop_, 1);
  std::string log;
  std::vector<int> items;
  EXPECT_TRUE(channel.try_push(1));
  TaskGroup group(loop_);
  {
    TaskGroup dropped(loop_);
    dropped.spawn(push(&channel, 2, &log));
    group.spawn(pop(&channel, &items, &log));  // makes room for the push, which is dropped before its turn
  }
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(items, std::vector{1});
  EXPECT_TRUE(channel.try_push(3));
}

TEST_P(ChannelTest, MayBeDestroyedWithItemsAndSleepers) {
  std::string log;
  std::vector<int> items;
  TaskGroup group(loop_);
  {
    Channel<int> empty(loop_, 1);
    group.spawn(pop(&empty, &items, &log));
    Channel<std::unique_ptr<int>> full(loop_, 2);
    EXPECT_TRUE(full.try_push(std::make_unique<int>(1)));
  }
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_TRUE(items.empty());
}

}  // namespace
}  // namespace millrace
