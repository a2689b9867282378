#include "consumers/lease_keeper.h"

#include <gtest/gtest.h>

#include <set>

#include <memory>
#include <optional>

#include "async/sim_event_loop.h"
#include "tests/support/fake_broker.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class LeaseKeeperTest : public testing::Test {
 protected:
  void keep() { keeper_.emplace(loop_, delivery_); }
  [[nodiscard]] std::size_t renewals() const { return report_->extended_at.size(); }

  SimEventLoop loop_;
  std::shared_ptr<DeliveryReport> report_ = std::make_shared<DeliveryReport>();  // a lease of 30 s
  FakeDelivery delivery_{loop_, {}, report_};
  std::optional<LeaseKeeper> keeper_;
};

TEST_F(LeaseKeeperTest, RenewsEveryThirdOfTheLeaseGiveOrTakeATenth) {
  keep();
  loop_.run_for(600s);
  ASSERT_GE(renewals(), 54U);
  ASSERT_LE(renewals(), 66U);
  EventLoop::TimePoint last{};
  for (const auto at : report_->extended_at) {
    EXPECT_GE(at - last, 9s);
    EXPECT_LE(at - last, 11s);
    last = at;
  }
}

TEST_F(LeaseKeeperTest, TwoMissesInARowLeaveTheLeaseAlive) {
  keep();
  loop_.run_for(600s);
  for (std::size_t i = 2; i < renewals(); ++i) {
    EXPECT_LT(report_->extended_at[i] - report_->extended_at[i - 2], report_->lease);
  }
}

TEST_F(LeaseKeeperTest, DoesNothingBeforeTheFirstThird) {
  keep();
  loop_.run_for(8999ms);
  EXPECT_EQ(renewals(), 0U);
}

TEST_F(LeaseKeeperTest, FollowsALeaseOfAnotherLength) {
  report_->lease = 500ms;  // the shortest that can be configured
  keep();
  loop_.run_for(10s);
  EXPECT_GE(renewals(), 54U);
  EXPECT_LE(renewals(), 67U);
}

TEST_F(LeaseKeeperTest, StopsWithTheObject) {
  keep();
  loop_.run_for(15s);
  EXPECT_EQ(renewals(), 1U);
  keeper_.reset();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(renewals(), 1U);
}

TEST_F(LeaseKeeperTest, StopsWithTheObjectAlsoInTheMiddleOfARenewal) {
  // From the due time on in steps: the keeper goes between the call of extend() and its answer.
  for (int steps = 1; steps < 12; ++steps) {
    auto report = std::make_shared<DeliveryReport>();
    SimEventLoop loop(static_cast<std::uint64_t>(steps));
    FakeDelivery delivery(loop, {}, report);
    auto keeper = std::make_unique<LeaseKeeper>(loop, delivery);
    (void)loop.run_until_idle(static_cast<std::uint64_t>(steps));
    keeper.reset();
    EXPECT_TRUE(loop.run_until_idle());
    EXPECT_LE(report->extended_at.size(), 3U);
  }
}

TEST_F(LeaseKeeperTest, StopsWhenTheLeaseIsLost) {
  keep();
  loop_.run_for(15s);
  report_->lost.request_stop();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(renewals(), 1U);
}

TEST_F(LeaseKeeperTest, ALeaseThatIsLostAlreadyIsNotRenewed) {
  report_->lost.request_stop();
  keep();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(renewals(), 0U);
}

TEST_F(LeaseKeeperTest, ARefusalForGoodIsTheLastRenewal) {
  report_->extend_error = Error{.code = Errc::aborted, .message = "somebody else's"};
  keep();
  EXPECT_TRUE(loop_.run_until_idle());
  EXPECT_EQ(renewals(), 1U);
}

TEST_F(LeaseKeeperTest, ARenewalThatFailsForNowIsTriedAgainInAThird) {
  report_->extend_error = Error{.code = Errc::unavailable, .message = "away"};
  keep();
  loop_.run_for(100s);
  EXPECT_GE(renewals(), 9U);
  EXPECT_LE(renewals(), 11U);
}

TEST(LeaseKeeperJitter, LeasesOfOneStepDoNotRenewTogether) {
  SimEventLoop loop;
  std::set<EventLoop::TimePoint> times;
  std::vector<std::shared_ptr<DeliveryReport>> reports;
  std::vector<std::unique_ptr<FakeDelivery>> deliveries;
  std::vector<std::unique_ptr<LeaseKeeper>> keepers;
  for (int i = 0; i < 100; ++i) {
    reports.push_back(std::make_shared<DeliveryReport>());
    Event event;
    event.id = EventId("event " + std::to_string(i));
    deliveries.push_back(std::make_unique<FakeDelivery>(loop, event, reports.back()));
    keepers.push_back(std::make_unique<LeaseKeeper>(loop, *deliveries.back()));
  }
  loop.run_for(12s);
  for (const auto& report : reports) times.insert(report->extended_at.at(0));
  EXPECT_GT(times.size(), 10U);
}

}  // namespace
}  // namespace millrace
