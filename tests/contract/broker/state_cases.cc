#include <set>

#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_P(BrokerContract, LagIsExactWhenNothingMoves) {
  MILLRACE_NEEDS(exact_lag);
  make_topic();
  publish_numbered(10);
  publish("later", "later", seconds(100));
  advance(seconds(5));
  const auto subscription = subscribe();
  const auto held = next(*subscription);
  ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  ASSERT_EQ(outcome(await(next(*subscription)->nak(seconds(100), NakReason::failed))), "ok");
  const auto counted = lag();
  EXPECT_EQ(counted.pending, 7U);
  EXPECT_EQ(counted.in_flight, 1U);
  EXPECT_EQ(counted.delayed, 2U);
  EXPECT_EQ(counted.dead, 1U);
  EXPECT_EQ(counted.open(), 10U);
  EXPECT_EQ(counted.oldest, seconds(5));
  if (!survives_restart()) return;
  restart();
  const auto after = lag();
  EXPECT_EQ(after.pending, 8U) << "a restart gives back what was held";
  EXPECT_EQ(after.in_flight, 0U);
  EXPECT_EQ(after.delayed, 2U);
  EXPECT_EQ(after.dead, 1U);
}

TEST_P(BrokerContract, OldestIgnoresTheDead) {
  make_topic();
  publish("a", "old");
  advance(seconds(50));
  publish("b", "new");
  const auto subscription = subscribe();
  ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  EXPECT_EQ(lag().oldest, seconds(0));
  EXPECT_EQ(outcome(await(next(*subscription)->ack())), "ok");
  EXPECT_EQ(lag().oldest, seconds(0));
}

TEST_P(BrokerContract, DelayedMessagesComeInTheOrderTheyAreDue) {
  MILLRACE_NEEDS(native_delay);
  make_topic();
  publish("a", "third", seconds(30));
  publish("b", "first", seconds(10));
  publish("c", "second", seconds(20));
  const auto subscription = subscribe();
  EXPECT_TRUE(nothing(*subscription));
  advance(milliseconds(9999));
  EXPECT_TRUE(nothing(*subscription));
  advance(milliseconds(1));
  const auto first = next(*subscription);
  EXPECT_EQ(first->event().data, "first");
  EXPECT_TRUE(nothing(*subscription));
  advance(seconds(20));
  const auto second = next(*subscription);
  EXPECT_EQ(second->event().data, "second");
  EXPECT_EQ(next(*subscription)->event().data, "third");
}

TEST_P(BrokerContract, DelayHoldsForAGroupThatComesLate) {
  MILLRACE_NEEDS(native_delay);
  make_topic({.name = "t", .groups = {}});
  publish("a", "hello", seconds(10));
  advance(seconds(4));
  const auto subscription = subscribe();
  EXPECT_TRUE(nothing(*subscription));
  advance(milliseconds(5999));
  EXPECT_TRUE(nothing(*subscription));
  advance(milliseconds(1));
  EXPECT_EQ(next(*subscription)->event().data, "hello");
}

TEST_P(BrokerContract, PublishDelaySurvivesARestart) {
  MILLRACE_NEEDS_A_DISK();
  MILLRACE_NEEDS(native_delay);
  make_topic();
  publish("a", "hello", seconds(10));
  advance(seconds(4));
  restart();
  const auto subscription = subscribe();
  advance(milliseconds(5999));
  EXPECT_TRUE(nothing(*subscription));
  advance(milliseconds(1));
  EXPECT_EQ(next(*subscription)->event().data, "hello");
}

TEST_P(BrokerContract, TermKeepsBytesIdCountersAndReason) {
  make_topic();
  publish("a", "hello");
  advance(seconds(7));
  {
    const auto subscription = subscribe();
    const auto first = next(*subscription);
    ASSERT_EQ(outcome(await(first->begin())), "ok");
    ASSERT_EQ(outcome(await(first->nak(milliseconds(0), NakReason::failed))), "ok");
    const auto second = next(*subscription);
    ASSERT_EQ(outcome(await(second->begin())), "ok");
    ASSERT_EQ(outcome(await(second->term("exit code 3", {.failures = 2, .losses = 1}))), "ok");
  }
  EXPECT_EQ(lag().open(), 0U);
  EXPECT_EQ(lag().dead, 1U);
  if (survives_restart()) restart();
  const auto letters = await(broker().dead_letters("t", "g", "", 10));
  ASSERT_EQ(outcome(letters), "ok");
  ASSERT_EQ(letters->size(), 1U);
  EXPECT_EQ(letters->front().id, "a");
  EXPECT_EQ(letters->front().event.data, "hello");
  EXPECT_EQ(letters->front().event.type, "test.event");
  EXPECT_EQ(letters->front().reason, "exit code 3");
  EXPECT_EQ(letters->front().counters.failures, 2U) << "with the last, of which the broker was not told before";
  EXPECT_EQ(letters->front().counters.losses, 1U);
  EXPECT_EQ(letters->front().redrives, 0U);
  EXPECT_GT(letters->front().died_at.time_since_epoch().count(), 0);
}

TEST_P(BrokerContract, DeadLettersArePagedOldestFirst) {
  make_topic();
  publish_numbered(7);
  const auto subscription = subscribe();
  for (int i = 0; i < 7; ++i) {
    const auto delivery = next(*subscription);
    ASSERT_EQ(outcome(await(delivery->term("reason " + std::to_string(i), {}))), "ok");
    advance(milliseconds(10));
  }
  std::vector<std::string> ids;
  std::string after;
  for (;;) {
    const auto page = await(broker().dead_letters("t", "g", after, 3));
    ASSERT_EQ(outcome(page), "ok");
    if (page->empty()) break;
    EXPECT_LE(page->size(), 3U);
    for (const auto& letter : *page) ids.push_back(letter.id);
    after = page->back().position;
  }
  EXPECT_EQ(ids, (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6"}));
  EXPECT_EQ(outcome(await(broker().dead_letters("t", "g", "unknown", 3))), "invalid_argument");
}

TEST_P(BrokerContract, DeadLettersOfOneIdArePagedAsAnyOthers) {
  constexpr milliseconds kWindow{100};
  make_topic({.name = "t", .groups = {"g"}, .dedupe_window = kWindow});
  const auto subscription = subscribe();
  for (int i = 0; i < 5; ++i) {
    publish("again", "same");
    ASSERT_EQ(outcome(await(next(*subscription)->term("reason " + std::to_string(i), {}))), "ok");
    pass(kWindow + milliseconds(20));
  }
  std::vector<std::string> reasons;
  for (std::string after; reasons.size() < 20;) {
    const auto page = await(broker().dead_letters("t", "g", after, 2));
    ASSERT_EQ(outcome(page), "ok");
    if (page->empty()) break;
    for (const auto& letter : *page) reasons.push_back(letter.reason);
    after = page->back().position;
  }
  EXPECT_EQ(reasons, (std::vector<std::string>{"reason 0", "reason 1", "reason 2", "reason 3", "reason 4"}));
}

TEST_P(BrokerContract, RedriveKeepsTheIdAndResetsTheCounters) {
  make_topic();
  publish_numbered(3);
  auto subscription = subscribe();
  for (int i = 0; i < 3; ++i) {
    const auto delivery = next(*subscription);
    ASSERT_EQ(outcome(await(delivery->begin())), "ok");
    ASSERT_EQ(outcome(await(delivery->nak(milliseconds(0), NakReason::failed))), "ok");
  }
  for (int i = 0; i < 3; ++i) ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");

  const auto one = await(broker().redrive("t", "g", {"1", "unknown"}));
  ASSERT_EQ(outcome(one), "ok");
  EXPECT_EQ(*one, 1U);
  EXPECT_EQ(lag().dead, 2U);
  if (survives_restart()) {
    subscription.reset();
    restart();
    subscription = subscribe();
  }
  {
    const auto delivery = next(*subscription);
    EXPECT_EQ(delivery->event().data, "1");
    EXPECT_EQ(delivery->redrives(), 1U);
    const auto counters = await(delivery->begin());
    ASSERT_EQ(outcome(counters), "ok");
    EXPECT_EQ(counters->failures, 0U);
    EXPECT_EQ(counters->losses, 0U);
    ASSERT_EQ(outcome(await(delivery->term("again", {}))), "ok");
  }
  const auto all = await(broker().redrive("t", "g", {}));
  ASSERT_EQ(outcome(all), "ok");
  EXPECT_EQ(*all, 3U);
  EXPECT_EQ(lag().dead, 0U);
  std::multiset<std::uint32_t> redrives;
  for (int i = 0; i < 3; ++i) {
    const auto delivery = next(*subscription);
    redrives.insert(delivery->redrives());
    ASSERT_EQ(outcome(await(delivery->ack())), "ok");
  }
  EXPECT_EQ(redrives, (std::multiset<std::uint32_t>{1, 1, 2}));
  EXPECT_EQ(*await(broker().redrive("t", "g", {})), 0U);
}

TEST_P(BrokerContract, PurgeTouchesOnlyItsGroup) {
  make_topic({.name = "t", .groups = {"g", "h"}});
  make_topic("u");
  publish_numbered(6);
  publish_numbered(2, "u");
  publish("later", "later", seconds(100));
  const auto subscription = subscribe();
  const auto held = next(*subscription);
  const auto lost = held->lease_lost();
  ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  ASSERT_EQ(outcome(await(broker().purge("t", "g"))), "ok");
  EXPECT_TRUE(lost.stop_requested());
  EXPECT_EQ(outcome(await(held->ack())), "aborted");
  EXPECT_EQ(lag("t", "g").open(), 0U);
  EXPECT_EQ(lag("t", "g").dead, 0U);
  EXPECT_EQ(lag("t", "h").open(), 7U);
  EXPECT_EQ(lag("u", "g").open(), 2U);
  if (survives_restart()) restart();
  EXPECT_EQ(lag("t", "g").open(), 0U);
  EXPECT_EQ(lag("t", "h").open(), 7U);
  publish("new", "new");
  const auto again = subscribe();
  EXPECT_EQ(next(*again)->event().data, "new");
}

TEST_P(BrokerContract, DrainingWorkerFinishesAndGivesTheRestBack) {
  make_topic();
  publish_numbered(4);
  const auto leaving = subscribe();
  const auto running = next(*leaving);
  ASSERT_EQ(outcome(await(running->begin())), "ok");
  const auto prefetched = next(*leaving);
  ASSERT_EQ(outcome(await(prefetched->nak(milliseconds(0), NakReason::shutdown))), "ok");
  ASSERT_EQ(outcome(await(running->ack())), "ok");
  const auto staying = subscribe();
  std::set<std::string> seen;
  for (int i = 0; i < 3; ++i) {
    const auto delivery = next(*staying);
    seen.insert(delivery->event().data);
    const auto counters = await(delivery->begin());
    ASSERT_EQ(outcome(counters), "ok");
    EXPECT_EQ(counters->failures + counters->losses, 0U) << "giving back burns no attempt";
    ASSERT_EQ(outcome(await(delivery->ack())), "ok");
  }
  EXPECT_EQ(seen, (std::set<std::string>{"1", "2", "3"}));
}

TEST_P(BrokerContract, SubscriberThatStopsTakingLosesAndRepeatsNothing) {
  make_topic();
  publish_numbered(10);
  const auto subscription = subscribe("t", "g", 3);
  std::vector<std::string> seen;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 3; ++i) {
      const auto delivery = next(*subscription);
      seen.push_back(delivery->event().data);
      ASSERT_EQ(outcome(await(delivery->ack())), "ok");
    }
    EXPECT_TRUE(nothing(*subscription));
    advance(seconds(60));
    subscription->grant(3);
  }
  seen.push_back(next(*subscription)->event().data);
  EXPECT_EQ((std::set<std::string>(seen.begin(), seen.end()).size()), 10U);
}

TEST_P(BrokerContract, ConfirmedStateSurvivesManyRestarts) {
  MILLRACE_NEEDS_A_DISK();
  make_topic({.name = "t", .groups = {"g"}, .lease = seconds(5), .bytes_max = 1'000'000});
  publish_numbered(10);
  for (int i = 0; i < 5; ++i) {
    {
      const auto subscription = subscribe();
      EXPECT_EQ(next(*subscription)->lease(), seconds(5));
      // The dropped delivery waits a second; the others are still there.
      const auto delivery = next(*subscription);
      ASSERT_EQ(outcome(await(delivery->ack())), "ok");
    }
    if (i % 2 == 0) {
      restart();
    } else {
      crash();
    }
    advance(seconds(2));
    EXPECT_EQ(lag().open(), static_cast<std::uint64_t>(9 - i));
  }
}

TEST_P(BrokerContract, IdsAreKnownAgainAfterARestart) {
  MILLRACE_NEEDS_A_DISK();
  make_topic({.name = "t", .groups = {"g"}, .dedupe_window = patience()});
  publish("a", "hello");
  publish("b", "done");
  {
    const auto subscription = subscribe();
    const auto first = next(*subscription);
    ASSERT_EQ(outcome(await(first->ack())), "ok");
  }
  restart();
  std::vector<Outgoing> batch;
  batch.push_back(make_message("a", "hello"));
  batch.push_back(make_message("b", "done"));
  batch.push_back(make_message("b", "other"));
  const auto receipts = publish_all(std::move(batch));
  EXPECT_TRUE(receipts[0] && receipts[0]->duplicate);
  EXPECT_TRUE(receipts[1] && receipts[1]->duplicate);
  if (capabilities().detects_id_reuse) EXPECT_EQ(outcome(receipts[2]), "already_exists");
  pass(patience());
  publish("a", "hello");
}

}  // namespace
}  // namespace millrace::contract
