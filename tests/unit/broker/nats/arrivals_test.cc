// What waits between the client library's threads and the loop is bounded, and nobody waits in vain for what is not
// kept.
#include <gtest/gtest.h>
#include <nats/nats.h>

#include <string>

#include "broker/nats/link_client.h"
#include "tests/support/manual_loop.h"

namespace millrace::nats {
namespace {

Message message(const std::string& subject, std::size_t bytes) {
  const std::string data(bytes, 'x');
  natsMsg* made = nullptr;
  EXPECT_EQ(natsMsg_Create(&made, subject.c_str(), nullptr, data.data(), static_cast<int>(data.size())), NATS_OK);
  return Message(made);
}

constexpr std::size_t kBytesMax = 10'000;

class NatsArrivals : public testing::Test {
 public:
  ~NatsArrivals() override {
    arrivals_.reset();  // messages are the library's
    nats_Close();
  }
  NatsArrivals(const NatsArrivals&) = delete;
  NatsArrivals& operator=(const NatsArrivals&) = delete;

 protected:
  NatsArrivals() { EXPECT_EQ(nats_Open(-1), NATS_OK); }

  ManualLoop loop_;
  int told_ = 0;
  std::shared_ptr<Link::Arrivals> arrivals_ =
      std::make_shared<Link::Arrivals>(loop_, "_INBOX.me.r.", kBytesMax, [this] { ++told_; });
};

TEST_F(NatsArrivals, WhatFitsIsTakenInItsOrderWithOneWakeUp) {
  for (int i = 0; i < 5; ++i) arrivals_->put(message("m." + std::to_string(i), 100));
  loop_.run_ready();
  EXPECT_EQ(told_, 1);
  const auto batch = arrivals_->take(3);
  ASSERT_EQ(batch.messages.size(), 3U);
  EXPECT_EQ(batch.messages[0].subject(), "m.0");
  EXPECT_TRUE(batch.more);
  arrivals_->put(message("m.5", 100));
  loop_.run_ready();
  EXPECT_EQ(told_, 1) << "whoever took knows that there is more";
  const auto rest = arrivals_->take(3);
  EXPECT_EQ(rest.messages.size(), 3U);
  EXPECT_FALSE(rest.more);
  arrivals_->put(message("m.6", 100));
  loop_.run_ready();
  EXPECT_EQ(told_, 2);
}

TEST_F(NatsArrivals, DeliveriesBeyondTheBoundAreDroppedAndCounted) {
  for (int i = 0; i < 100; ++i) arrivals_->put(message("$JS.delivery", 1000));
  const auto batch = arrivals_->take(1000);
  EXPECT_GT(batch.messages.size(), 4U);
  EXPECT_LT(batch.messages.size(), 10U);
  EXPECT_EQ(batch.dropped, 100 - batch.messages.size());
  EXPECT_TRUE(batch.failures.empty());
  arrivals_->put(message("$JS.delivery", 1000));
  EXPECT_EQ(arrivals_->take(1000).messages.size(), 1U) << "there is room again";
}

TEST_F(NatsArrivals, AnswersBeyondTheBoundBecomeFailuresOfWhoWaits) {
  arrivals_->put(message("$JS.delivery", kBytesMax));
  arrivals_->put(message("_INBOX.me.r.17", 1000));
  const auto batch = arrivals_->take(1000);
  EXPECT_EQ(batch.messages.size(), 1U);
  EXPECT_EQ(batch.dropped, 0U);
  ASSERT_EQ(batch.failures.size(), 1U);
  EXPECT_EQ(batch.failures[0].first, "_INBOX.me.r.17");
  EXPECT_EQ(batch.failures[0].second.code, Errc::unavailable);
}

TEST_F(NatsArrivals, OneMessageAloneMayBeLargerThanTheBound) {
  arrivals_->put(message("$JS.delivery", 2 * kBytesMax));
  EXPECT_EQ(arrivals_->take(1000).messages.size(), 1U);
}

TEST_F(NatsArrivals, FailuresAreBoundedToo) {
  arrivals_->put(message("$JS.delivery", kBytesMax));
  for (std::size_t i = 0; i < Link::Arrivals::kFailuresMax + 10; ++i) {
    arrivals_->put_failure("_INBOX.me.r.1", {.code = Errc::unavailable, .message = "x"});
  }
  const auto batch = arrivals_->take(1);
  EXPECT_EQ(batch.failures.size(), Link::Arrivals::kFailuresMax);
  EXPECT_EQ(batch.dropped, 10U);
}

TEST_F(NatsArrivals, OfManyChangesTheLastOnesAreKept) {
  for (int i = 0; i < 1000; ++i) arrivals_->put(i % 2 == 0 ? Change::disconnected : Change::reconnected);
  const auto batch = arrivals_->take(1);
  EXPECT_LE(batch.changes.size(), Link::Arrivals::kChangesMax);
  EXPECT_EQ(batch.changes.back(), static_cast<int>(Change::reconnected));
}

TEST_F(NatsArrivals, NothingIsKeptAfterTheStop) {
  arrivals_->put(message("m", 1));
  arrivals_->stop();
  arrivals_->put(message("m", 1));
  EXPECT_TRUE(arrivals_->take(10).messages.empty());
  loop_.run_ready();
  EXPECT_EQ(told_, 0);
}

}  // namespace
}  // namespace millrace::nats
