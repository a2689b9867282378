// How the log uses space and memory: compaction, recycling, reading back, back-pressure.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>

#include "tests/unit/broker/log/log_bench.h"

namespace millrace::wal {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

// Publishes and acks so much that segments are filled `times` over.
void churn(LogBench& bench, int times, const std::string& prefix) {
  const auto subscription = bench.subscribe("u");
  for (int i = 0; i < times * 18; ++i) {
    ASSERT_TRUE(bench.publish(prefix + std::to_string(i), std::string(60'000, 'x'), "u"));
    const auto delivery = bench.next(*subscription);
    ASSERT_TRUE(bench.await(delivery->ack()));
  }
}

TEST(LogSpace, SegmentsAreRecycledNotPiledUp) {
  LogBench bench;
  bench.must_open();
  bench.make_topic("u");
  churn(bench, 12, "");
  EXPECT_LE(bench.files->names().size(), 7U);
  const auto last = bench.segments().back();
  EXPECT_GT(last, "log-0000000a");
  bench.reopen();
  EXPECT_EQ(bench.lag("u").open(), 0U);
}

TEST(LogSpace, OneLongJobDoesNotPinTheDiskAndStaysWhatItWas) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  bench.make_topic("u");
  ASSERT_TRUE(bench.publish("long", "long job"));
  ASSERT_TRUE(bench.publish("dead", "dead one"));
  ASSERT_TRUE(bench.publish("later", "retried"));
  const auto subscription = bench.subscribe();
  auto running = bench.next(*subscription);
  const auto dead = bench.next(*subscription);
  const auto later = bench.next(*subscription);
  ASSERT_TRUE(bench.await(running->begin()));
  ASSERT_TRUE(bench.await(running->nak(milliseconds(0), NakReason::failed)));
  ASSERT_TRUE(bench.await(dead->term("why", {})));
  ASSERT_TRUE(bench.await(later->nak(minutes(100), NakReason::failed)));
  running = bench.next(*subscription);
  ASSERT_EQ(running->event().data, "long job");
  ASSERT_TRUE(bench.await(running->begin()));

  churn(bench, 20, "");
  EXPECT_LE(bench.segments().size(), 9U) << "the segment of the long job was given up";
  EXPECT_NE(bench.segments().front(), "log-00000001");

  bench.reopen();
  const auto lag = bench.lag();
  EXPECT_EQ(lag.pending, 1U);
  EXPECT_EQ(lag.delayed, 1U);
  EXPECT_EQ(lag.dead, 1U);
  const auto again = bench.subscribe();
  const auto delivery = bench.next(*again);
  EXPECT_EQ(delivery->event().data, "long job");
  const auto counters = bench.await(delivery->begin());
  ASSERT_TRUE(counters);
  EXPECT_EQ(counters->failures, 1U);
  EXPECT_EQ(counters->losses, 1U) << "begun when the process went away";
  const auto letters = bench.await(bench.broker->dead_letters("t", "g", "", 10));
  ASSERT_TRUE(letters && letters->size() == 1);
  EXPECT_EQ(letters->front().event.data, "dead one");
  EXPECT_EQ(letters->front().reason, "why");
}

const Gauge& compaction_failing(LogBench& bench) {
  return bench.metrics.gauge("millrace_log_compaction_failing", "");
}

// Message "long" is to be moved, and cannot be read.
void hold_compaction_up(LogBench& bench) {
  bench.must_open();
  bench.make_topic();
  bench.make_topic("u");
  ASSERT_TRUE(bench.publish("long", "long job"));
  bench.files->set_fault([](FakeLogFiles::Operation operation, const std::string&) -> std::optional<Error> {
    if (operation != FakeLogFiles::Operation::read) return std::nullopt;
    return Error{.code = Errc::unavailable, .message = "planned", .retry_after = {}};
  });
  churn(bench, 8, "");
  ASSERT_TRUE(bench.loop.run_until([&] { return compaction_failing(bench).value() == 1; }));
  EXPECT_EQ(bench.segments().front(), "log-00000001");
}

TEST(LogSpace, AReadThatFailsHoldsCompactionUpAndDoesNotEndIt) {
  LogBench bench;
  hold_compaction_up(bench);
  bench.loop.advance(std::chrono::seconds(1));  // once more in vain
  EXPECT_EQ(bench.segments().front(), "log-00000001");

  bench.files->set_fault(nullptr);
  bench.loop.advance(std::chrono::seconds(2));
  ASSERT_TRUE(bench.loop.run_until([&] { return compaction_failing(bench).value() == 0; }));
  churn(bench, 1, "again");
  EXPECT_GT(bench.segments().front(), "log-00000001");
  bench.reopen();
  EXPECT_EQ(bench.drain(), std::multiset<std::string>{"long"});
}

TEST(LogSpace, AMessageThatCannotBeReadHoldsItsSegmentUntilItIsPurged) {
  LogBench bench;
  hold_compaction_up(bench);
  ASSERT_TRUE(bench.await(bench.broker->purge("t", "g")));
  ASSERT_TRUE(bench.loop.run_until([&] { return compaction_failing(bench).value() == 0; })) << "at once";
  churn(bench, 1, "again");
  EXPECT_GT(bench.segments().front(), "log-00000001");
}

TEST(LogSpace, KeysAndPrioritiesOutliveTheSegmentsOfTheirMessages) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  bench.make_topic("u");
  std::vector<Outgoing> batch;
  for (const char* id : {"a1", "a2", "a3"}) {
    batch.push_back(LogBench::message(id, id));
    batch.back().key = "a";
  }
  for (const char* id : {"low", "high"}) {
    batch.push_back(LogBench::message(id, id));
    batch.back().priority = *id == 'l' ? Priority::low : Priority::high;
  }
  for (const auto& receipt : bench.await(bench.broker->publish("t", std::move(batch)))) ASSERT_TRUE(receipt);
  {
    const auto subscription = bench.subscribe();
    const auto high = bench.next(*subscription);
    EXPECT_EQ(high->event().data, "high");
    const auto first = bench.next(*subscription);
    ASSERT_EQ(first->event().data, "a1");
    ASSERT_TRUE(bench.await(first->nak(minutes(100), NakReason::failed)));
    ASSERT_TRUE(bench.await(high->nak(milliseconds(0), NakReason::overload)));
  }
  churn(bench, 20, "");
  EXPECT_NE(bench.segments().front(), "log-00000001");

  bench.reopen();
  EXPECT_EQ(bench.lag().pending, 2U);
  EXPECT_EQ(bench.lag().delayed, 1U);
  EXPECT_EQ(bench.lag().blocked, 2U);
  const auto subscription = bench.subscribe();
  EXPECT_EQ(bench.next(*subscription)->event().data, "high");
  bench.loop.advance(minutes(100));
  for (const char* id : {"a1", "a2", "a3"}) {
    auto delivery = bench.next(*subscription);
    while (delivery->event().data.size() > 2) {  // high and low, which come back a second after they are dropped
      ASSERT_TRUE(bench.await(delivery->ack()));
      delivery = bench.next(*subscription);
    }
    EXPECT_EQ(delivery->event().data, id);
    ASSERT_TRUE(bench.await(delivery->ack()));
  }
}

TEST(LogSpace, CopiedMessageStaysSettledForTheGroupsThatSettledIt) {
  LogBench bench;
  bench.must_open();
  bench.make_topic("u");
  ASSERT_TRUE(bench.await(bench.broker->ensure({.name = "t", .groups = {"g", "h"}})));
  ASSERT_TRUE(bench.publish("a", "for both"));
  ASSERT_EQ(bench.drain().size(), 1U);
  churn(bench, 12, "");
  EXPECT_NE(bench.segments().front(), "log-00000001");
  bench.reopen();
  EXPECT_EQ(bench.lag().open(), 0U);
  const auto other = bench.await(bench.broker->lag("t", "h"));
  ASSERT_TRUE(other);
  EXPECT_EQ(other->pending, 1U);
}

TEST(LogSpace, IdsOutliveTheSegmentsOfTheirMessages) {
  LogBench bench;
  bench.must_open();
  bench.make_topic("u");
  churn(bench, 8, "");
  EXPECT_NE(bench.segments().front(), "log-00000001");
  bench.reopen();
  const auto receipt = bench.publish("0", std::string(60'000, 'x'), "u");
  ASSERT_TRUE(receipt);
  EXPECT_TRUE(receipt->duplicate);
}

TEST(LogSpace, TopicsAndGroupsOutliveTheSegmentsTheyWereMadeIn) {
  LogBench bench;
  bench.must_open();
  bench.make_topic("u");
  ASSERT_TRUE(bench.await(bench.broker->ensure(
      {.name = "quiet", .groups = {"g", "h"}, .lease = milliseconds(1234), .dedupe_window = minutes(3)})));
  churn(bench, 8, "a");
  churn(bench, 8, "b");
  bench.reopen();
  const auto topics = bench.await(bench.broker->topics());
  ASSERT_TRUE(topics);
  EXPECT_EQ(*topics, (std::vector<std::string>{"quiet", "u"}));
  EXPECT_TRUE(bench.await(bench.broker->lag("quiet", "h")));
  ASSERT_TRUE(bench.publish("a", "x", "quiet"));
  const auto subscription = bench.subscribe("quiet");
  EXPECT_EQ(bench.next(*subscription)->lease(), milliseconds(1234));
}

TEST(LogSpace, BacklogBeyondTheCacheIsReadBackInOrder) {
  LogBench bench;
  bench.options.cache_bytes_max = 100'000;
  bench.must_open();
  bench.make_topic();
  constexpr int kCount = 600;
  for (int i = 0; i < kCount; ++i) {
    ASSERT_TRUE(bench.publish(std::to_string(i), std::to_string(i) + std::string(5'000, 'x')));
  }
  const auto subscription = bench.subscribe();
  for (int i = 0; i < kCount; ++i) {
    const auto delivery = bench.next(*subscription);
    ASSERT_EQ(delivery->event().data, std::to_string(i) + std::string(5'000, 'x'));
    ASSERT_TRUE(bench.await(delivery->ack()));
  }
}

TEST(LogSpace, SeveralReadersOfTheSamePartReadItOnce) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(bench.publish(std::to_string(i), "x"));
  bench.reopen();
  std::atomic<int> reads = 0;
  bench.files->set_fault([&](FakeLogFiles::Operation operation, const std::string&) -> std::optional<Error> {
    if (operation == FakeLogFiles::Operation::read) ++reads;
    return std::nullopt;
  });
  const auto subscription = bench.subscribe();
  std::vector<std::unique_ptr<Delivery>> held(20);
  TaskGroup group(bench.loop);
  for (auto& delivery : held) {
    group.spawn([](Subscription& from, std::unique_ptr<Delivery>& to) -> Task<void> {
      auto next = co_await from.next({});
      if (next) to = std::move(*next);
    }(*subscription, delivery));
  }
  ASSERT_TRUE(bench.loop.run_until([&] { return group.size() == 0; }));
  EXPECT_TRUE(std::ranges::all_of(held, [](const auto& each) { return each != nullptr; }));
  EXPECT_EQ(reads, 1);
}

TEST(LogSpace, ReaderThatGivesUpHoldsNobodyElseBack) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  ASSERT_TRUE(bench.publish("a", "x"));
  bench.reopen();
  const auto subscription = bench.subscribe();
  {
    auto given_up = subscription->next({});
    given_up.start();
  }
  EXPECT_EQ(bench.lag().in_flight, 0U);
  EXPECT_EQ(bench.next(*subscription)->event().source_id, "a");
}

TEST(LogSpace, PublishesWaitWhileTooMuchIsOnItsWayToTheDisk) {
  LogBench bench;
  bench.options.queue_bytes_max = 100'000;
  bench.must_open();
  bench.make_topic();
  // 3 MB in one batch through a queue of 100 kB: it arrives whole, in several commits.
  std::vector<Outgoing> batch;
  for (int i = 0; i < 60; ++i) batch.push_back(LogBench::message(std::to_string(i), std::string(50'000, 'x')));
  const auto receipts = bench.await(bench.broker->publish("t", std::move(batch)));
  EXPECT_TRUE(std::ranges::all_of(receipts, [](const auto& each) { return each.has_value(); }));
  EXPECT_GT(bench.metrics.counter("millrace_log_commits_total", "").value(), 10U);
  EXPECT_EQ(bench.drain().size(), 60U);
}

TEST(LogSpace, PublishesThatWaitForASegmentSleepUntilItIsThere) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  std::latch disk(1);
  bench.files->set_fault([&](FakeLogFiles::Operation operation, const std::string&) -> std::optional<Error> {
    if (operation == FakeLogFiles::Operation::allocate) disk.wait();
    return std::nullopt;
  });
  TaskGroup group(bench.loop);
  for (int i = 0; i < 8; ++i) {
    group.spawn([](Broker& broker, int id) -> Task<void> {
      std::vector<Outgoing> batch;
      batch.push_back(LogBench::message(std::to_string(id), std::string(400'000, 'x')));
      auto receipts = co_await broker.publish("t", std::move(batch));
      EXPECT_TRUE(receipts[0]);
    }(*bench.broker, i));
  }
  bench.loop.run_ready();  // comes to rest
  EXPECT_GE(group.size(), 2U);
  disk.count_down();
  ASSERT_TRUE(bench.loop.run_until([&] { return group.size() == 0; }));
}

TEST(LogSpace, WhatComesUpInOneTurnSharesOneCommit) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  auto& commits = bench.metrics.counter("millrace_log_commits_total", "");
  const auto before = commits.value();
  TaskGroup group(bench.loop);
  for (int i = 0; i < 50; ++i) {
    group.spawn([](Broker& broker, int id) -> Task<void> {
      std::vector<Outgoing> batch;
      batch.push_back(LogBench::message(std::to_string(id), "x"));
      auto receipts = co_await broker.publish("t", std::move(batch));
      EXPECT_TRUE(receipts[0]);
    }(*bench.broker, i));
  }
  ASSERT_TRUE(bench.loop.run_until([&] { return group.size() == 0; }));
  EXPECT_EQ(commits.value(), before + 1);
}

TEST(LogSpace, ImpossibleSegmentSizesAreRefused) {
  for (const std::uint64_t bytes : {std::uint64_t{0}, kMiB - 4096, kMiB + 1, 512 * kMiB}) {
    LogBench bench;
    bench.options.segment_bytes = bytes;
    EXPECT_NE(bench.open().find("between 1 MiB and 256 MiB"), std::string::npos) << bytes;
  }
}

TEST(LogSpace, LargestMessageFitsTheSmallestSegment) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  const std::size_t largest = bench.broker->capabilities().message_bytes_max;
  EXPECT_GT(largest, 400'000U);
  for (int i = 0; i < 6; ++i) {
    auto message = LogBench::message(std::to_string(i), std::string(largest, 'x'));
    message.event.subject = std::string(kEventHeaderBytesMax - 2000, 's');
    std::vector<Outgoing> batch;
    batch.push_back(std::move(message));
    const auto receipts = bench.await(bench.broker->publish("t", std::move(batch)));
    ASSERT_TRUE(receipts[0]) << receipts[0].error().message;
  }
  bench.reopen();
  EXPECT_EQ(bench.drain().size(), 6U);
}

}  // namespace
}  // namespace millrace::wal
