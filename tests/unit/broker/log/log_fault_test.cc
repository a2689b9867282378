// What the log broker does when the disk is full, fails, or loses power.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>

#include "tests/unit/broker/log/log_bench.h"

namespace millrace::wal {
namespace {

using testing::HasSubstr;
using Operation = FakeLogFiles::Operation;

std::string outcome(const auto& result) {
  return result ? "ok" : std::string(name_of(result.error().code));
}

void wait_for_space(LogBench& bench) {
  auto& full = bench.metrics.gauge("millrace_log_full", "");
  bench.loop.advance(std::chrono::seconds(1));
  ASSERT_TRUE(bench.loop.run_until([&] { return full.value() == 0; }));
}

TEST(LogFaults, FullDiskRefusesPublishesTakesAcksAndRecoversWithoutARestart) {
  LogBench bench;
  bench.files->set_space(3 * kMiB);
  bench.must_open();
  bench.make_topic();
  int published = 0;
  std::string refused;
  for (; published < 1000; ++published) {
    const auto receipt = bench.publish(std::to_string(published), std::string(20'000, 'x'));
    if (receipt) continue;
    refused = receipt.error().message;
    EXPECT_EQ(receipt.error().code, Errc::no_space);
    break;
  }
  EXPECT_GT(published, 40);
  EXPECT_THAT(refused, HasSubstr("the fake disk is full"));
  EXPECT_EQ(outcome(bench.publish("still", std::string(20'000, 'x'))), "no_space");

  EXPECT_EQ(bench.drain().size(), static_cast<std::size_t>(published)) << "acks go on";
  // What was acked gave its segments back; the log notices on its own.
  wait_for_space(bench);
  EXPECT_EQ(outcome(bench.publish("again", std::string(20'000, 'x'))), "ok");
  bench.reopen();
  EXPECT_EQ(bench.drain(), std::multiset<std::string>{"again"});
}

TEST(LogFaults, DiskThatGetsSpaceFromOutsideIsNoticed) {
  LogBench bench;
  bench.files->set_space(2 * kMiB);
  bench.must_open();
  bench.make_topic();
  int published = 0;
  while (bench.publish(std::to_string(published), std::string(50'000, 'x'))) ++published;
  bench.files->set_space(10 * kMiB);
  wait_for_space(bench);
  EXPECT_EQ(outcome(bench.publish("again", std::string(50'000, 'x'))), "ok");
}

TEST(LogFaults, DiskFullAtTheFirstStartIsReported) {
  LogBench bench;
  bench.files->set_space(kMiB / 2);
  EXPECT_THAT(bench.open(), HasSubstr("the fake disk is full"));
}

TEST(LogFaults, DiskFullAtALaterStartStillServesWhatIsThere) {
  LogBench bench;
  bench.files->set_space(2 * kMiB);
  bench.must_open();
  bench.make_topic();
  int published = 0;
  while (bench.publish(std::to_string(published), std::string(50'000, 'x'))) ++published;
  bench.reopen();
  EXPECT_EQ(bench.drain().size(), static_cast<std::size_t>(published));
}

TEST(LogFaults, FailedSyncMakesTheLogReadOnly) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  ASSERT_TRUE(bench.publish("before", "x"));
  const auto subscription = bench.subscribe();
  const auto delivery = bench.next(*subscription);

  std::atomic<int> syncs = 0;
  bench.files->set_fault([&](Operation operation, const std::string&) -> std::optional<Error> {
    if (operation != Operation::sync) return std::nullopt;
    ++syncs;
    return Error{.code = Errc::unavailable, .message = "planned I/O error", .retry_after = {}};
  });
  const auto receipt = bench.publish("lost", "x");
  EXPECT_EQ(outcome(receipt), "unavailable");
  EXPECT_THAT(receipt.error().message, HasSubstr("planned I/O error"));
  EXPECT_EQ(syncs, 1) << "after an error nothing is tried again";
  EXPECT_EQ(outcome(bench.await(delivery->ack())), "unavailable");
  EXPECT_EQ(outcome(bench.publish("more", "x")), "unavailable");
  EXPECT_EQ(outcome(bench.await(bench.broker->ensure({.name = "u", .groups = {}}))), "unavailable");
  EXPECT_EQ(outcome(bench.await(subscription->next({}))), "unavailable");
  bench.close();
}

TEST(LogFaults, FailedWriteFailsEverybodyWhoWaits) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  bench.files->set_fault([](Operation operation, const std::string&) -> std::optional<Error> {
    if (operation != Operation::write) return std::nullopt;
    return Error{.code = Errc::unavailable, .message = "planned", .retry_after = {}};
  });
  std::vector<Outgoing> batch;
  for (int i = 0; i < 10; ++i) batch.push_back(LogBench::message(std::to_string(i), "x"));
  const auto receipts = bench.await(bench.broker->publish("t", std::move(batch)));
  EXPECT_TRUE(std::ranges::all_of(receipts, [](const auto& each) { return !each.has_value(); }));
}

TEST(LogFaults, UnreadableMessageIsReportedAndTheOthersGoOn) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  ASSERT_TRUE(bench.publish("a", "first"));
  ASSERT_TRUE(bench.publish("b", "second"));
  bench.reopen();  // so that nothing is in memory
  const auto subscription = bench.subscribe();
  bench.files->set_fault([](Operation operation, const std::string&) -> std::optional<Error> {
    if (operation != Operation::read) return std::nullopt;
    return Error{.code = Errc::unavailable, .message = "planned", .retry_after = {}};
  });
  EXPECT_EQ(outcome(bench.await(subscription->next({}))), "unavailable");
  EXPECT_EQ(bench.lag().delayed, 1U) << "it is tried again later";
  bench.files->set_fault(nullptr);
  const auto second = bench.next(*subscription);
  EXPECT_EQ(second->event().data, "second");
  bench.loop.advance(std::chrono::seconds(29));
  ASSERT_TRUE(bench.await(second->ack()));
  bench.loop.advance(std::chrono::seconds(1));
  EXPECT_EQ(bench.next(*subscription)->event().data, "first");
}

// The model of one topic and group: what was confirmed must be there, what was confirmed as settled must not.
struct Model {
  std::set<std::string> confirmed;
  std::set<std::string> settled;
  std::set<std::string> perhaps_settled;
};

TEST(LogFaults, PowerLossLosesNothingConfirmedAndBringsNothingSettledBack) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  auto files = std::make_shared<FakeLogFiles>();
  Model model;
  int next_id = 0;
  for (int round = 0; round < 40; ++round) {
    LogBench bench(files);
    ASSERT_EQ(bench.open(), "ok") << "round " << round;
    bench.make_topic();
    const auto reader = bench.subscribe();
    std::vector<std::unique_ptr<Delivery>> held;
    if (round > 0) {
      std::set<std::string> present;
      bench.loop.advance(std::chrono::seconds(2));  // what was dropped waits a second
      while (bench.lag().pending > 0) {
        held.push_back(bench.next(*reader));
        ASSERT_TRUE(present.insert(held.back()->event().source_id).second) << "twice";
      }
      for (const auto& id : model.confirmed) {
        const bool may_be_gone = model.settled.contains(id) || model.perhaps_settled.contains(id);
        ASSERT_TRUE(may_be_gone || present.contains(id)) << "confirmed and lost: " << id << " in round " << round;
      }
      for (const auto& id : present) {
        ASSERT_FALSE(model.settled.contains(id)) << "settled and back: " << id << " in round " << round;
      }
      for (const auto& id : model.perhaps_settled) {
        if (!present.contains(id)) model.settled.insert(id);
      }
      model.perhaps_settled.clear();
    }
    const auto settle = [&] {
      for (auto& delivery : held) {
        if (random() % 3 == 0) continue;
        const std::string id = delivery->event().source_id;
        ASSERT_TRUE(bench.await(delivery->ack()));
        model.settled.insert(id);
        model.confirmed.erase(id);
      }
      held.clear();
    };
    // What comes last has nobody behind it whose sync would take it along.
    const bool settles_last = random() % 2 == 0;
    if (!settles_last) settle();
    for (unsigned i = 0, count = random() % 30; i < count; ++i) {
      const std::string id = std::to_string(next_id++);
      ASSERT_TRUE(bench.publish(id, std::string(random() % 20'000, 'x')));
      model.confirmed.insert(id);
    }
    if (settles_last) settle();
    // Under way when the power goes: may be there or not.
    TaskGroup group(bench.loop);
    const auto subscription = bench.subscribe();
    if (bench.lag().pending > 0) {
      auto delivery = bench.next(*subscription);
      model.perhaps_settled.insert(delivery->event().source_id);
      auto ack = delivery->ack();
      ack.start();
      std::vector<Outgoing> batch;
      for (int i = 0; i < 20; ++i) {
        batch.push_back(LogBench::message(std::to_string(next_id++), std::string(random() % 5'000, 'y')));
      }
      auto publish = bench.broker->publish("t", std::move(batch));
      publish.start();
      bench.loop.run_ready();  // hands them to the committer, which may be anywhere when the power goes
    }
    files->set_fault([](Operation operation, const std::string&) -> std::optional<Error> {
      if (operation != Operation::sync) return std::nullopt;
      return Error{.code = Errc::unavailable, .message = "the power is gone", .retry_after = {}};
    });
    bench.drop();
    files->lose_power(random);
    files->set_fault(nullptr);
  }
}

}  // namespace
}  // namespace millrace::wal
