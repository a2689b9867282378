// Messages that are handed out while the disk still works on them.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

#include "async/task_group.h"
#include "tests/unit/broker/log/log_bench.h"

namespace millrace::wal {
namespace {

class LogEarly : public testing::Test {
 public:
  ~LogEarly() override {
    delivery_.reset();
    subscription_.reset();
  }

 protected:
  void open() {
    bench_.must_open();
    bench_.make_topic();
    subscription_ = bench_.subscribe();
  }
  // Writes wait for go_on().
  void hold_writes() {
    bench_.files->set_fault([this](FakeLogFiles::Operation operation, const std::string&) -> std::optional<Error> {
      if (operation == FakeLogFiles::Operation::write) held_.acquire();
      return std::nullopt;
    });
  }
  void go_on() { held_.release(1000); }
  void start_publish(const std::string& id, std::string data) {
    group_.spawn(publish(bench_.broker.get(), LogBench::message(id, std::move(data)), published_));
    bench_.loop.run_ready();
  }
  void start_next() {
    group_.spawn(next(subscription_.get(), delivery_));
    bench_.loop.run_ready();
  }
  std::uint64_t commits() {
    return bench_.metrics.counter("millrace_log_commits_total", "batches written to the embedded log").value();
  }

  static Task<void> publish(Broker* broker, Outgoing message, std::vector<Result<Receipt>>& published) {
    std::vector<Outgoing> batch;
    batch.push_back(std::move(message));
    auto receipts = co_await broker->publish("t", std::move(batch));
    published.push_back(std::move(receipts[0]));
  }
  static Task<void> next(Subscription* subscription, std::unique_ptr<Delivery>& delivery) {
    auto got = co_await subscription->next({});
    if (got) delivery = std::move(*got);
  }
  static Task<void> next_and_begin(Subscription* subscription, std::unique_ptr<Delivery>& delivery,
                                   std::optional<Result<Counters>>& begun) {
    auto got = co_await subscription->next({});
    if (!got) co_return;
    delivery = std::move(*got);
    auto counters = co_await delivery->begin();
    begun.emplace(std::move(counters));
  }

  LogBench bench_;
  std::counting_semaphore<> held_{0};
  std::unique_ptr<Subscription> subscription_;
  std::unique_ptr<Delivery> delivery_;
  std::vector<Result<Receipt>> published_;
  std::optional<Result<Counters>> begun_;
  TaskGroup group_{bench_.loop};
};

TEST_F(LogEarly, PublishAndBeginShareACommit) {
  open();
  group_.spawn(next_and_begin(subscription_.get(), delivery_, begun_));
  bench_.loop.run_ready();
  const auto before = commits();
  EXPECT_TRUE(bench_.publish("a", "data"));
  ASSERT_TRUE(bench_.loop.run_until([this] { return begun_.has_value(); }));
  EXPECT_TRUE(*begun_);
  EXPECT_EQ(commits(), before + 1);
}

TEST_F(LogEarly, ABeginIsNoticedNoSoonerThanItsMessageIsSafe) {
  open();
  hold_writes();
  group_.spawn(next_and_begin(subscription_.get(), delivery_, begun_));
  start_publish("a", "data");
  EXPECT_TRUE(delivery_);
  EXPECT_TRUE(published_.empty());
  EXPECT_FALSE(begun_);
  go_on();
  ASSERT_TRUE(bench_.loop.run_until([this] { return begun_.has_value(); }));
  EXPECT_EQ(published_.size(), 1U);
}

TEST_F(LogEarly, WhatIsTakenOfAMessageThatIsNeverSafeIsRefused) {
  open();
  start_next();
  bench_.files->set_fault([](FakeLogFiles::Operation operation, const std::string&) -> std::optional<Error> {
    if (operation != FakeLogFiles::Operation::sync) return std::nullopt;
    return Error{.code = Errc::internal, .message = "the disk is broken", .retry_after = {}};
  });
  EXPECT_FALSE(bench_.publish("a", "data"));
  ASSERT_TRUE(delivery_);
  const auto begun = bench_.await(delivery_->begin());
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, Errc::unavailable);
  bench_.files->set_fault(nullptr);
  delivery_.reset();
  subscription_.reset();
}

TEST_F(LogEarly, ContentThatLeftMemoryIsReadOnlyWhenItIsInItsFile) {
  bench_.options.cache_bytes_max = 1;
  open();
  hold_writes();
  start_publish("0", "zero");
  start_publish("1", "one");  // of two, the newest stays in memory
  start_next();
  EXPECT_FALSE(delivery_);
  go_on();
  ASSERT_TRUE(bench_.loop.run_until([this] { return delivery_ != nullptr; }));
  EXPECT_EQ(delivery_->event().data, "zero");
  EXPECT_TRUE(bench_.loop.run_until([this] { return published_.size() == 2; }));
}

}  // namespace
}  // namespace millrace::wal
