#include "broker/memory/memory_broker.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "async/sim_event_loop.h"
#include "async/task_group.h"
#include "telemetry/metrics.h"

namespace millrace {
namespace {

Task<void> make_topics(Broker& broker, int count, std::vector<std::unique_ptr<Subscription>>& made) {
  for (int i = 0; i < count; ++i) {
    const std::string name = "topic-" + std::to_string(i);
    const auto ok = co_await broker.ensure({.name = name, .groups = {"g"}});
    EXPECT_TRUE(ok);
    auto subscription = co_await broker.subscribe({.topic = name, .group = "g"});
    EXPECT_TRUE(subscription);
    if (!subscription) co_return;
    (*subscription)->grant(1);
    made.push_back(std::move(*subscription));
  }
}

Task<void> wait_for_one(Subscription& subscription, int& arrived) {
  const auto delivery = co_await subscription.next({});
  if (delivery) ++arrived;
}

Task<void> publish_one(Broker& broker, std::string topic) {
  Outgoing message{.id = "a", .event = {}, .delay = {}};
  message.event.data = "hello";
  std::vector<Outgoing> batch;
  batch.push_back(std::move(message));
  const auto receipts = co_await broker.publish(std::move(topic), std::move(batch));
  EXPECT_TRUE(receipts[0]);
}

// The state and the timers are the log broker's too.
TEST(MemoryBroker, TenThousandIdleTopicsWaitWithoutATimerOrAStep) {
  SimEventLoop loop;
  Metrics metrics;
  const auto broker = make_memory_broker({}, loop, metrics);
  std::vector<std::unique_ptr<Subscription>> subscriptions;
  int arrived = 0;
  TaskGroup group(loop);
  group.spawn(make_topics(*broker, 10'000, subscriptions));
  ASSERT_TRUE(loop.run_until_idle());
  ASSERT_EQ(subscriptions.size(), 10'000U);
  for (const auto& each : subscriptions) group.spawn(wait_for_one(*each, arrived));
  ASSERT_TRUE(loop.run_until_idle());

  const auto before = loop.now();
  ASSERT_TRUE(loop.run_until_idle(1)) << "something is posted or due although nothing happens";
  EXPECT_EQ(loop.now(), before);

  group.spawn(publish_one(*broker, "topic-4711"));
  loop.run_for({});
  EXPECT_EQ(arrived, 1);
  group.request_stop();
  for (int i = 0; i < 10'000; ++i) {
    if (i != 4711) group.spawn(publish_one(*broker, "topic-" + std::to_string(i)));
  }
  loop.run_for({});
  EXPECT_EQ(arrived, 10'000);
}

}  // namespace
}  // namespace millrace
