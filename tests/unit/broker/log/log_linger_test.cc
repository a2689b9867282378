// Acks that wait for a publish or a begin to share a sync with. Time moves only by hand here.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>

#include "async/task_group.h"
#include "tests/unit/broker/log/log_bench.h"

namespace millrace::wal {
namespace {

constexpr std::chrono::milliseconds kLinger{2};

class LogLinger : public testing::Test {
 public:
  ~LogLinger() override {
    delivery_.reset();
    subscription_.reset();
  }

 protected:
  LogLinger() {
    bench_.options.ack_linger = kLinger;
    bench_.must_open();
    bench_.make_topic();
    subscription_ = bench_.subscribe();
    for (const char* id : {"a", "b"}) EXPECT_TRUE(bench_.publish(id, "data"));
    delivery_ = bench_.next(*subscription_);
  }

  void start_ack() {
    group_.spawn(ack(*delivery_, acked_));
    bench_.loop.run_ready();
  }
  bool acked() { return acked_.has_value() && acked_->has_value(); }
  std::uint64_t commits() {
    return bench_.metrics.counter("millrace_log_commits_total", "batches written to the embedded log").value();
  }

  LogBench bench_;
  std::unique_ptr<Subscription> subscription_;
  std::unique_ptr<Delivery> delivery_;
  std::optional<Result<void>> acked_;
  TaskGroup group_{bench_.loop};

 private:
  static Task<void> ack(Delivery& delivery, std::optional<Result<void>>& acked) {
    auto done = co_await delivery.ack();
    acked.emplace(std::move(done));
  }
};

TEST_F(LogLinger, AnAckSharesTheCommitOfThePublishAfterIt) {
  const auto before = commits();
  start_ack();
  EXPECT_FALSE(acked());
  EXPECT_TRUE(bench_.publish("c", "data"));
  bench_.loop.run_ready();
  EXPECT_TRUE(acked());
  EXPECT_EQ(commits(), before + 1);
}

TEST_F(LogLinger, AnAckThatNobodyJoinsGoesAloneAfterItsTime) {
  const auto before = commits();
  start_ack();
  bench_.loop.advance(kLinger - std::chrono::milliseconds(1));
  EXPECT_EQ(commits(), before);
  bench_.loop.advance(std::chrono::milliseconds(1));
  EXPECT_TRUE(bench_.loop.run_until([this] { return acked(); }));
  EXPECT_EQ(commits(), before + 1);
}

TEST_F(LogLinger, AnAckOfTheOnlyMessageGoesAtOnce) {
  start_ack();
  bench_.loop.advance(kLinger);
  EXPECT_TRUE(bench_.loop.run_until([this] { return acked(); }));
  acked_.reset();
  delivery_ = bench_.next(*subscription_);
  start_ack();
  EXPECT_TRUE(bench_.loop.run_until([this] { return acked(); })) << "without any time going by";
}

TEST_F(LogLinger, ClosingTakesAWaitingAckAlong) {
  start_ack();
  bench_.close();
  bench_.loop.run_ready();
  EXPECT_TRUE(acked());
  delivery_.reset();
  subscription_.reset();
  bench_.reopen();
  EXPECT_EQ(bench_.lag().open(), 1U);
}

}  // namespace
}  // namespace millrace::wal
