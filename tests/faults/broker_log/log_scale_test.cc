// What much costs: a backlog of a million messages, topics by the ten thousand, subscribers that come and go.
#include <gtest/gtest.h>
#include <malloc.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "broker/log/log_broker.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#endif

constexpr std::int64_t kMiB = 1 << 20;

// Of this process, with what the allocator has no use for given back.
std::int64_t resident_bytes() {
  ::malloc_trim(0);
  std::ifstream file("/proc/self/statm");
  std::int64_t pages = 0;
  file >> pages >> pages;
  return pages * 4096;
}

Outgoing small_message(int number) {
  const std::string id = "object-" + std::to_string(number);
  Outgoing message{.id = id, .event = {}, .delay = {}};
  message.event.id = EventId("0123456789abcdef0123456789abcdef");
  message.event.source = "scale";
  message.event.source_id = id;
  message.event.type = "test";
  message.event.data = std::string(50, 'x');
  return message;
}

class Scale : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "this build has a sanitizer, whose own memory is many times what is measured here";
    open();
  }
  void TearDown() override {
    if (broker_) test::run_task(loop_, broker_->close());
  }
  void open() {
    LogBrokerOptions options;
    options.directory = directory_ / "log";
    auto opened = test::run_task(loop_, open_log_broker(options, loop_, metrics_, log_));
    ASSERT_TRUE(opened) << opened.error().message;
    broker_ = std::move(*opened);
  }

  test::TempDir directory_;
  UvEventLoop loop_;
  Metrics metrics_;
  Log log_{{.level = LogLevel::error}};
  std::unique_ptr<Broker> broker_;
};

Task<bool> publish_many(Broker& broker, int count) {
  constexpr int kBatch = 1000;
  for (int number = 0; number < count;) {
    std::vector<Outgoing> batch;
    for (int i = 0; i < kBatch; ++i) batch.push_back(small_message(number++));
    const auto receipts = co_await broker.publish("t", std::move(batch));
    for (const auto& receipt : receipts) {
      if (!receipt) co_return false;
    }
  }
  co_return true;
}

Task<int> take_many(Broker& broker, int count) {
  auto subscription = co_await broker.subscribe({.topic = "t", .group = "g"});
  if (!subscription) co_return -1;
  std::vector<std::unique_ptr<Delivery>> held;
  int taken = 0;
  for (; taken < count; ++taken) {
    (*subscription)->grant(1);
    auto delivery = co_await (*subscription)->next({});
    if (!delivery || (*delivery)->event().source_id != "object-" + std::to_string(taken)) co_return taken;
    const auto acked = co_await (*delivery)->ack();
    if (!acked) co_return taken;
  }
  co_return taken;
}

TEST_F(Scale, ABacklogOfAMillionCostsNoMoreThan64MiB) {
  constexpr int kBacklog = 1'000'000;
  ASSERT_TRUE(test::run_task(loop_, broker_->ensure({.name = "t", .groups = {"g"}})));
  const std::int64_t before = resident_bytes();
  ASSERT_TRUE(test::run_task(loop_, publish_many(*broker_, kBacklog)));
  const std::int64_t cost = resident_bytes() - before;
  std::cout << "a backlog of " << kBacklog << " costs " << cost / 1024 << " KiB\n";
  EXPECT_LE(cost, 64 * kMiB);

  test::run_task(loop_, broker_->close());
  broker_.reset();
  const std::int64_t closed = resident_bytes();
  open();
  const std::int64_t reopened = resident_bytes() - closed;
  std::cout << "after a restart " << reopened / 1024 << " KiB\n";
  EXPECT_LE(reopened, 64 * kMiB);

  constexpr int kTaken = 2000;
  EXPECT_EQ(test::run_task(loop_, take_many(*broker_, kTaken)), kTaken) << "in the order of publish";
  EXPECT_LE(resident_bytes() - closed, 64 * kMiB);
  const auto lag = test::run_task(loop_, broker_->lag("t", "g"));
  ASSERT_TRUE(lag);
  EXPECT_EQ(lag->open(), static_cast<std::uint64_t>(kBacklog - kTaken));
}

Task<bool> make_topics(Broker& broker, int count) {
  for (int i = 0; i < count; ++i) {
    const auto made = co_await broker.ensure({.name = "topic-" + std::to_string(i), .groups = {"g"}});
    if (!made) co_return false;
  }
  co_return true;
}

TEST_F(Scale, TenThousandTopicsCostLittleMemory) {
  constexpr int kTopics = 10'000;
  const std::int64_t before = resident_bytes();
  ASSERT_TRUE(test::run_task(loop_, make_topics(*broker_, kTopics)));
  const std::int64_t cost = resident_bytes() - before;
  std::cout << kTopics << " topics cost " << cost / 1024 << " KiB\n";
  EXPECT_LE(cost, 32 * kMiB);
  const auto refused = test::run_task(loop_, broker_->ensure({.name = "one-more", .groups = {}}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::resource_exhausted);
}

Task<bool> come_and_go(Broker& broker, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto subscription = co_await broker.subscribe({.topic = "t", .group = "g"});
    if (!subscription) co_return false;
    (*subscription)->grant(1);
    auto delivery = co_await (*subscription)->next({});
    if (!delivery) co_return false;
    const auto given = co_await (*delivery)->nak(std::chrono::milliseconds(0), NakReason::shutdown);
    if (!given) co_return false;
  }
  co_return true;
}

std::size_t open_files() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}
std::size_t threads() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

TEST_F(Scale, AThousandSubscribersThatComeAndGoLeaveNothingBehind) {
  ASSERT_TRUE(test::run_task(loop_, broker_->ensure({.name = "t", .groups = {"g"}})));
  std::vector<Outgoing> batch;
  batch.push_back(small_message(0));
  ASSERT_TRUE(test::run_task(loop_, broker_->publish("t", std::move(batch)))[0]);
  ASSERT_TRUE(test::run_task(loop_, come_and_go(*broker_, 100)));
  const std::size_t files = open_files();
  const std::size_t tasks = threads();
  const std::int64_t before = resident_bytes();
  ASSERT_TRUE(test::run_task(loop_, come_and_go(*broker_, 1000)));
  EXPECT_EQ(open_files(), files);
  EXPECT_EQ(threads(), tasks);
  EXPECT_LE(resident_bytes() - before, kMiB);
}

}  // namespace
}  // namespace millrace
