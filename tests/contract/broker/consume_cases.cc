#include <algorithm>
#include <random>
#include <set>

#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_P(BrokerContract, NothingIsDeliveredBeyondTheCredit) {
  make_topic();
  publish_numbered(5);
  const auto subscription = subscribe("t", "g", 0);
  EXPECT_TRUE(nothing(*subscription));
  subscription->grant(2);
  EXPECT_EQ(subscription->credit(), 2U);
  const auto first = next(*subscription);
  const auto second = next(*subscription);
  EXPECT_EQ(subscription->credit(), 0U);
  EXPECT_TRUE(nothing(*subscription));
  ASSERT_EQ(outcome(await(first->ack())), "ok");
  EXPECT_TRUE(nothing(*subscription)) << "a settled delivery gives no credit back";

  const auto waiting = start(subscription->next({}));
  EXPECT_FALSE(waiting->done());
  subscription->grant(1);
  finish(*waiting);
  EXPECT_EQ((**waiting->value)->event().data, "2");
}

TEST_P(BrokerContract, WaitingSubscriberGetsWhatIsPublishedLater) {
  make_topic();
  const auto subscription = subscribe();
  const auto waiting = start(subscription->next({}));
  EXPECT_FALSE(waiting->done());
  publish("a", "hello");
  finish(*waiting);
  EXPECT_EQ((**waiting->value)->event().data, "hello");
}

TEST_P(BrokerContract, StoppedNextIsCancelledAndTakesNothing) {
  make_topic();
  const auto subscription = subscribe();
  std::stop_source stop;
  const auto waiting = start(subscription->next(stop.get_token()));
  stop.request_stop();
  finish(*waiting);
  EXPECT_EQ(outcome(*waiting->value), "cancelled");
  EXPECT_EQ(outcome(await(subscription->next(stop.get_token()))), "cancelled") << "stopped before it was called";
  publish("a", "hello");
  EXPECT_EQ(next(*subscription)->event().data, "hello");
}

TEST_P(BrokerContract, AckRemovesForGood) {
  make_topic();
  publish("a", "hello");
  {
    const auto subscription = subscribe();
    const auto delivery = next(*subscription);
    ASSERT_EQ(outcome(await(delivery->ack())), "ok");
    EXPECT_TRUE(nothing(*subscription));
  }
  EXPECT_EQ(lag().open(), 0U);
  MILLRACE_NEEDS_A_DISK();
  restart();
  EXPECT_EQ(lag().open(), 0U);
  EXPECT_TRUE(nothing(*subscribe()));
}

TEST_P(BrokerContract, LeaseExpiryRedeliversAndCountsALossOnlyIfBegun) {
  make_topic({.name = "t", .groups = {"g"}, .lease = seconds(2)});
  publish("a", "hello");
  const auto subscription = subscribe();
  const auto idle = next(*subscription);
  EXPECT_EQ(idle->lease(), seconds(2));
  advance(seconds(2));
  EXPECT_TRUE(idle->lease_lost().stop_requested());

  const auto begun = next(*subscription);
  const auto before = await(begun->begin());
  ASSERT_EQ(outcome(before), "ok");
  EXPECT_EQ(before->losses, 0U) << "the first delivery had not begun anything";
  advance(seconds(2));

  const auto third = next(*subscription);
  const auto counters = await(third->begin());
  ASSERT_EQ(outcome(counters), "ok");
  EXPECT_EQ(counters->losses, 1U);
  EXPECT_EQ(counters->failures, 0U);
  EXPECT_TRUE(nothing(*subscription)) << "redelivered once, not twice";
}

TEST_P(BrokerContract, ExtendedLeaseIsNotRedelivered) {
  make_topic({.name = "t", .groups = {"g"}, .lease = seconds(3)});
  publish("a", "hello");
  const auto subscription = subscribe();
  const auto delivery = next(*subscription);
  for (int i = 0; i < 15; ++i) {  // five leases long
    advance(seconds(1));
    ASSERT_EQ(outcome(await(delivery->extend())), "ok");
  }
  EXPECT_TRUE(nothing(*subscription));
  EXPECT_FALSE(delivery->lease_lost().stop_requested());
  EXPECT_EQ(outcome(await(delivery->ack())), "ok");
}

TEST_P(BrokerContract, NakDelaysNeitherLessNorMuchMore) {
  make_topic();
  publish("a", "hello");
  const auto subscription = subscribe();
  const auto delivery = next(*subscription);
  ASSERT_EQ(outcome(await(delivery->nak(seconds(10), NakReason::overload))), "ok");
  EXPECT_EQ(lag().delayed, 1U);
  advance(milliseconds(9999));
  EXPECT_TRUE(nothing(*subscription));
  advance(milliseconds(2001));
  EXPECT_EQ(next(*subscription)->event().data, "hello");
}

TEST_P(BrokerContract, NakWithoutDelayComesBackAtOnce) {
  make_topic();
  publish("a", "hello");
  const auto subscription = subscribe();
  ASSERT_EQ(outcome(await(next(*subscription)->nak(milliseconds(0), NakReason::shutdown))), "ok");
  EXPECT_EQ(next(*subscription)->event().data, "hello");
}

TEST_P(BrokerContract, ImpossibleDelayIsRefusedAndSettlesNothing) {
  make_topic();
  publish("a", "hello");
  const auto subscription = subscribe();
  const auto delivery = next(*subscription);
  EXPECT_EQ(outcome(await(delivery->nak(milliseconds(-1), NakReason::failed))), "invalid_argument");
  EXPECT_EQ(outcome(await(delivery->nak(milliseconds::max(), NakReason::failed))), "invalid_argument");
  EXPECT_EQ(outcome(await(delivery->ack())), "ok");
}

TEST_P(BrokerContract, NakDelaySurvivesARestart) {
  MILLRACE_NEEDS_A_DISK();
  make_topic();
  publish("a", "hello");
  const milliseconds delay = patience();
  {
    const auto subscription = subscribe();
    ASSERT_EQ(outcome(await(next(*subscription)->nak(delay, NakReason::failed))), "ok");
  }
  advance(delay / 3);
  restart();
  const auto subscription = subscribe();
  EXPECT_EQ(lag().open(), 1U);
  if (capabilities().exact_lag) EXPECT_EQ(lag().delayed, 1U);
  EXPECT_TRUE(nothing(*subscription));
  if (moves_server_time()) {
    advance(delay / 3 * 2 - seconds(1));
    EXPECT_TRUE(nothing(*subscription));
    advance(seconds(2));
  }
  const auto delivery = next(*subscription);
  const auto counters = await(delivery->begin());
  ASSERT_EQ(outcome(counters), "ok");
  EXPECT_EQ(counters->failures, 1U);
}

TEST_P(BrokerContract, EachNakReasonCountsItsOwn) {
  make_topic();
  publish("a", "hello");
  const auto subscription = subscribe();
  const auto nak = [&](NakReason reason) {
    const auto delivery = next(*subscription);
    EXPECT_EQ(outcome(await(delivery->begin())), "ok");
    EXPECT_EQ(outcome(await(delivery->nak(milliseconds(0), reason))), "ok");
  };
  nak(NakReason::failed);
  nak(NakReason::failed);
  nak(NakReason::lost);
  nak(NakReason::overload);
  nak(NakReason::shutdown);
  nak(NakReason::infrastructure);
  const auto delivery = next(*subscription);
  const auto counters = await(delivery->begin());
  ASSERT_EQ(outcome(counters), "ok");
  EXPECT_EQ(counters->failures, 2U);
  EXPECT_EQ(counters->losses, 1U);
}

TEST_P(BrokerContract, LossesAddUpOverRestarts) {
  MILLRACE_NEEDS_A_DISK();
  MILLRACE_NEEDS(durable_attempts);
  make_topic();
  publish("a", "hello");
  for (std::uint32_t round = 0; round < 4; ++round) {
    const auto subscription = subscribe();
    const auto delivery = next(*subscription);
    const auto counters = await(delivery->begin());
    ASSERT_EQ(outcome(counters), "ok");
    EXPECT_EQ(counters->losses, round);
    crash();  // the worker dies with the broker, each time
  }
  restart();
  restart();  // nothing began in between, so nothing more is counted
  const auto subscription = subscribe();
  const auto counters = await(next(*subscription)->begin());
  ASSERT_EQ(outcome(counters), "ok");
  EXPECT_EQ(counters->losses, 4U);
}

TEST_P(BrokerContract, DeliveryThatHadNotBegunCountsNothingAtARestart) {
  MILLRACE_NEEDS_A_DISK();
  make_topic();
  publish("a", "hello");
  {
    const auto subscription = subscribe();
    const auto delivery = next(*subscription);
    crash();
  }
  const auto subscription = subscribe();
  const auto counters = await(next(*subscription)->begin());
  ASSERT_EQ(outcome(counters), "ok");
  EXPECT_EQ(counters->losses, 0U);
}

TEST_P(BrokerContract, TwoGroupsSeeEveryMessage) {
  make_topic({.name = "t", .groups = {"g", "h"}});
  publish_numbered(10);
  const auto first = subscribe("t", "g");
  EXPECT_EQ(drain(*first).size(), 10U);
  const auto second = subscribe("t", "h");
  std::set<std::string> seen;
  for (int i = 0; i < 10; ++i) {
    const auto delivery = next(*second);
    seen.insert(delivery->event().data);
    ASSERT_EQ(outcome(await(delivery->ack())), "ok");
  }
  EXPECT_EQ(seen.size(), 10U);
  EXPECT_EQ(lag("t", "h").open(), 0U);
}

TEST_P(BrokerContract, WorkersOfAGroupShareWithoutLossOrRepeat) {
  make_topic();
  publish_numbered(200);
  std::vector<std::unique_ptr<Subscription>> workers;
  for (int i = 0; i < 4; ++i) workers.push_back(subscribe());
  std::multiset<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    const auto delivery = next(*workers[static_cast<std::size_t>(i) % 4]);
    seen.insert(delivery->event().data);
    ASSERT_EQ(outcome(await(delivery->ack())), "ok");
  }
  EXPECT_EQ(seen.size(), 200U);
  EXPECT_EQ((std::set<std::string>(seen.begin(), seen.end()).size()), 200U);
  EXPECT_EQ(lag().open(), 0U);
}

TEST_P(BrokerContract, WaitingWorkersAllGetTheirShare) {
  make_topic();
  std::vector<std::unique_ptr<Subscription>> workers;
  std::vector<std::shared_ptr<Running<Result<std::unique_ptr<Delivery>>>>> waiting;
  for (int i = 0; i < 8; ++i) {
    workers.push_back(subscribe("t", "g", 1));
    waiting.push_back(start(workers.back()->next({})));
    waiting.push_back(start(workers.back()->next({})));  // for the second one there is no credit
  }
  publish_numbered(16);
  std::set<std::string> seen;
  for (std::size_t i = 0; i < waiting.size(); i += 2) {
    finish(*waiting[i]);
    seen.insert((**waiting[i]->value)->event().data);
    EXPECT_FALSE(waiting[i + 1]->done());
  }
  EXPECT_EQ(seen.size(), 8U);
  for (const auto& worker : workers) worker->grant(1);
  for (std::size_t i = 1; i < waiting.size(); i += 2) {
    finish(*waiting[i]);
    seen.insert((**waiting[i]->value)->event().data);
  }
  EXPECT_EQ(seen.size(), 16U);
}

TEST_P(BrokerContract, DroppedDeliveryComesBackAfterASecond) {
  make_topic();
  publish("a", "hello");
  const auto subscription = subscribe();
  {
    const auto delivery = next(*subscription);
    ASSERT_EQ(outcome(await(delivery->begin())), "ok");
  }
  EXPECT_EQ(lag().delayed, 1U);
  advance(milliseconds(999));
  EXPECT_TRUE(nothing(*subscription));
  advance(milliseconds(1));
  const auto counters = await(next(*subscription)->begin());
  ASSERT_EQ(outcome(counters), "ok");
  EXPECT_EQ(counters->failures, 0U);
  EXPECT_EQ(counters->losses, 0U);
}

TEST_P(BrokerContract, DeliveryOutlivedByNobodyIsHarmless) {
  make_topic();
  publish("a", "hello");
  auto subscription = subscribe();
  auto delivery = next(*subscription);
  const auto lost = delivery->lease_lost();
  await(start_close());
  EXPECT_TRUE(lost.stop_requested()) << "closing gives back what is held";
  EXPECT_EQ(outcome(await(delivery->ack())), "unavailable");
  EXPECT_EQ(outcome(await(subscription->next({}))), "unavailable");
  EXPECT_EQ(outcome(await(broker().topics())), "unavailable");
}

TEST_P(BrokerContract, SecondVerdictIsRefused) {
  make_topic();
  publish_numbered(3);
  const auto subscription = subscribe();
  const auto first = next(*subscription);
  ASSERT_EQ(outcome(await(first->ack())), "ok");
  EXPECT_EQ(outcome(await(first->ack())), "failed_precondition");
  EXPECT_EQ(outcome(await(first->nak(seconds(1), NakReason::failed))), "failed_precondition");
  EXPECT_EQ(outcome(await(first->term("x", {}))), "failed_precondition");
  EXPECT_EQ(outcome(await(first->extend())), "failed_precondition");
  EXPECT_EQ(outcome(await(first->begin())), "failed_precondition");

  const auto second = next(*subscription);
  ASSERT_EQ(outcome(await(second->nak(seconds(1), NakReason::failed))), "ok");
  EXPECT_EQ(outcome(await(second->ack())), "failed_precondition");

  const auto third = next(*subscription);
  ASSERT_EQ(outcome(await(third->begin())), "ok");
  EXPECT_EQ(outcome(await(third->begin())), "failed_precondition") << "an attempt begins once";
  ASSERT_EQ(outcome(await(third->term("x", {}))), "ok");
  EXPECT_EQ(outcome(await(third->ack())), "failed_precondition");
}

TEST_P(BrokerContract, SecondVerdictBeforeTheFirstIsConfirmedIsRefusedToo) {
  make_topic();
  publish("a", "hello");
  const auto subscription = subscribe();
  const auto delivery = next(*subscription);
  const auto first = start(delivery->ack());
  EXPECT_EQ(outcome(await(delivery->nak(milliseconds(0), NakReason::failed))), "failed_precondition");
  finish(*first);
  EXPECT_EQ(outcome(*first->value), "ok");
  EXPECT_EQ(lag().open(), 0U);
}

TEST_P(BrokerContract, VerdictAfterTheLeaseIsLostIsAborted) {
  make_topic({.name = "t", .groups = {"g"}, .lease = seconds(2)});
  publish("a", "hello");
  const auto subscription = subscribe();
  const auto slow = next(*subscription);
  const auto lost = slow->lease_lost();
  EXPECT_FALSE(lost.stop_requested());
  advance(seconds(2));
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_EQ(outcome(await(slow->ack())), "aborted");
  EXPECT_EQ(outcome(await(slow->nak(seconds(1), NakReason::failed))), "aborted");
  EXPECT_EQ(outcome(await(slow->term("x", {}))), "aborted");
  EXPECT_EQ(outcome(await(slow->extend())), "aborted");
  EXPECT_EQ(outcome(await(slow->begin())), "aborted");
  const auto other = next(*subscription);
  EXPECT_EQ(outcome(await(other->ack())), "ok");
  EXPECT_EQ(lag().open(), 0U);
}

TEST_P(BrokerContract, AcksOutOfOrderThenACrashReturnExactlyTheRest) {
  MILLRACE_NEEDS_A_DISK();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  make_topic();
  publish_numbered(100);
  std::set<std::string> unacked;
  {
    const auto subscription = subscribe();
    std::vector<std::unique_ptr<Delivery>> held;
    for (int i = 0; i < 100; ++i) held.push_back(next(*subscription));
    std::ranges::shuffle(held, random);
    for (std::size_t i = 0; i < 60; ++i) ASSERT_EQ(outcome(await(held[i]->ack())), "ok");
    for (std::size_t i = 60; i < 100; ++i) unacked.insert(held[i]->event().data);
    crash();
  }
  EXPECT_EQ(lag().pending, 40U);
  const auto subscription = subscribe();
  const auto back = drain(*subscription);
  EXPECT_EQ((std::set<std::string>(back.begin(), back.end())), unacked);
}

TEST_P(BrokerContract, StuckMessageDoesNotStopTheOthers) {
  make_topic();
  publish_numbered(20);
  const auto subscription = subscribe();
  const auto stuck = next(*subscription);
  std::size_t others = 0;
  for (int i = 0; i < 60 && others < 19; ++i) {
    const auto delivery = next(*subscription);
    if (delivery->event().data == "1") {  // fails again and again, at once
      ASSERT_EQ(outcome(await(delivery->nak(milliseconds(0), NakReason::failed))), "ok");
    } else {
      ASSERT_EQ(outcome(await(delivery->ack())), "ok");
      ++others;
    }
    if (others == 18) break;
  }
  EXPECT_EQ(others, 18U);
  EXPECT_EQ(lag().in_flight, 1U);
}

}  // namespace
}  // namespace millrace::contract
