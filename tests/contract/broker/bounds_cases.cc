// What is bounded, what comes to its end, and what is refused.
#include <algorithm>
#include <array>
#include <memory>

#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST_P(BrokerContract, FloodOfPublishesIsTakenAtThePaceOfTheBroker) {
  make_topic();
  constexpr int kPublishers = 64;
  std::vector<std::shared_ptr<Running<std::vector<Result<Receipt>>>>> publishing;
  for (int i = 0; i < kPublishers; ++i) {  // 32 MiB, more than may be on its way to a disk
    std::vector<Outgoing> batch;
    batch.push_back(make_message(std::to_string(i), std::string(512 << 10, static_cast<char>('a' + i % 26))));
    publishing.push_back(start(broker().publish("t", std::move(batch))));
  }
  for (auto& each : publishing) {
    finish(*each);
    EXPECT_EQ(outcome(each->value->front()), "ok");
  }
  const auto subscription = subscribe();
  const auto data = drain(*subscription);
  EXPECT_EQ(data.size(), static_cast<std::size_t>(kPublishers));
  EXPECT_TRUE(std::ranges::all_of(data, [](const auto& each) { return each == std::string(512 << 10, each[0]); }));
}

TEST_P(BrokerContract, TopicFullByNumberRefusesAndRecovers) {
  make_topic({.name = "t", .groups = {"g", "h"}, .messages_max = 3});
  publish_numbered(3);
  std::vector<Outgoing> batch;
  batch.push_back(make_message("0", "0"));
  batch.push_back(make_message("more", "more"));
  const auto receipts = publish_all(std::move(batch));
  EXPECT_TRUE(receipts[0] && receipts[0]->duplicate) << "a repeat takes no room";
  EXPECT_EQ(outcome(receipts[1]), "no_space");

  const auto first = subscribe("t", "g");
  const auto second = subscribe("t", "h");
  ASSERT_EQ(outcome(await(next(*first)->ack())), "ok");
  std::vector<Outgoing> again;
  again.push_back(make_message("more", "more"));
  EXPECT_EQ(outcome(publish_all(std::move(again))[0]), "no_space") << "the other group still wants it";
  ASSERT_EQ(outcome(await(next(*second)->ack())), "ok");
  publish("more", "more");

  MILLRACE_NEEDS(bounds_count_dead);
  ASSERT_EQ(outcome(await(next(*first)->term("bad", {}))), "ok");
  ASSERT_EQ(outcome(await(next(*second)->ack())), "ok");
  std::vector<Outgoing> last;
  last.push_back(make_message("last", "last"));
  EXPECT_EQ(outcome(publish_all(std::move(last))[0]), "no_space") << "a dead letter counts";
}

TEST_P(BrokerContract, GroupWhoseOldestMessageIsTooOldIsOverdueAndLosesNothing) {
  make_topic({.name = "t", .groups = {"g", "idle"}, .overdue_after = minutes(10)});
  publish("a", "old");
  const auto subscription = subscribe("t", "g");
  ASSERT_EQ(outcome(await(next(*subscription)->ack())), "ok");
  advance(minutes(10));
  EXPECT_FALSE(lag("t", "idle").overdue);
  advance(milliseconds(1));
  EXPECT_TRUE(lag("t", "idle").overdue);
  EXPECT_FALSE(lag("t", "g").overdue);
  publish("b", "new");
  if (survives_restart()) restart();
  EXPECT_TRUE(lag("t", "idle").overdue);
  EXPECT_EQ(lag("t", "idle").open(), 2U);

  const auto late = subscribe("t", "idle");
  ASSERT_EQ(outcome(await(next(*late)->term("too old", {}))), "ok");
  EXPECT_FALSE(lag("t", "idle").overdue) << "a dead letter is nobody's backlog";
}

TEST_P(BrokerContract, EveryThirdHeartbeatMayGetLost) {
  make_topic({.name = "t", .groups = {"g"}, .lease = seconds(3)});
  publish("a", "hello");
  const auto subscription = subscribe();
  const auto delivery = next(*subscription);
  ASSERT_EQ(outcome(await(delivery->begin())), "ok");
  for (int i = 1; i <= 36; ++i) {  // twelve leases long
    advance(seconds(1));
    if (i % 3 != 0) ASSERT_EQ(outcome(await(delivery->extend())), "ok");
  }
  EXPECT_FALSE(delivery->lease_lost().stop_requested());
  EXPECT_TRUE(nothing(*subscription));
  EXPECT_EQ(outcome(await(delivery->ack())), "ok");
}

TEST_P(BrokerContract, AThousandSubscribersComeAndGo) {
  make_topic();
  publish_numbered(3);
  const auto staying = subscribe("t", "g", 0);
  for (int i = 0; i < 1000; ++i) {
    const auto subscription = subscribe("t", "g", 2);
    const auto delivery = next(*subscription);
    ASSERT_NE(delivery, nullptr);
    const auto waiting = start(subscription->next({}));
    finish(*waiting);
    auto second = std::move(**waiting->value);
    const auto given = start(delivery->nak(milliseconds(0), NakReason::shutdown));
    ASSERT_EQ(outcome(await(second->nak(milliseconds(0), NakReason::shutdown))), "ok");
    finish(*given);
  }
  EXPECT_EQ(lag().pending, 3U);
  EXPECT_EQ(lag().in_flight, 0U);
  staying->grant(3);
  for (int i = 0; i < 3; ++i) {
    const auto counters = await(next(*staying)->begin());
    ASSERT_EQ(outcome(counters), "ok");
    EXPECT_EQ(counters->failures + counters->losses, 0U);
  }
}

TEST_P(BrokerContract, SubscriberThatVanishesWhileItWaitsTakesNothingAlong) {
  make_topic();
  for (int i = 0; i < 100; ++i) {
    auto subscription = subscribe("t", "g", 1);
    auto asking = subscription->next({});
    asking.start();
  }
  publish("a", "hello");
  const auto subscription = subscribe();
  EXPECT_EQ(next(*subscription)->event().data, "hello");
}

TEST_P(BrokerContract, ClosingComesToItsEndInEveryState) {
  make_topic();
  publish_numbered(5);
  publish("later", "later", seconds(100));
  const auto subscription = subscribe("t", "g", 4);
  const auto held = next(*subscription);
  const auto begun = next(*subscription);
  ASSERT_EQ(outcome(await(begun->begin())), "ok");
  ASSERT_EQ(outcome(await(next(*subscription)->nak(seconds(100), NakReason::failed))), "ok");
  ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  const auto without_credit = start(subscription->next({}));
  std::vector<Outgoing> batch;
  for (int i = 100; i < 110; ++i) batch.push_back(make_message(std::to_string(i), std::string(256 << 10, 'x')));
  const auto publishing = start(broker().publish("t", std::move(batch)));
  const auto acking = start(held->ack());

  const auto closed = start(start_close());
  finish(*closed);
  finish(*without_credit);
  EXPECT_FALSE(without_credit->value->has_value());
  finish(*publishing);
  finish(*acking);
  EXPECT_TRUE(begun->lease_lost().stop_requested());
  for (const auto& receipt : *publishing->value) {
    EXPECT_TRUE(outcome(receipt) == "ok" || outcome(receipt) == "unavailable") << outcome(receipt);
  }
}

TEST_P(BrokerContract, NamesThatCouldLeadAstrayAreRefused) {
  const std::array<std::string, 9> names{
      "a/b", "..", ".hidden", "a\nb", "", "A", "a b", std::string("a\0b", 3), std::string(201, 'a')};
  for (const auto& name : names) {
    SCOPED_TRACE(name);
    EXPECT_EQ(outcome(await(broker().ensure({.name = name, .groups = {}}))), "invalid_argument");
    EXPECT_EQ(outcome(await(broker().ensure({.name = "t", .groups = {name}}))), "invalid_argument");
    std::vector<Outgoing> batch;
    batch.push_back(make_message("a", "hello"));
    EXPECT_EQ(outcome(publish_all(std::move(batch), name)[0]), "not_found");
  }
  make_topic();
  EXPECT_EQ(outcome(await(broker().subscribe({.topic = "t", .group = "a/b"}))), "invalid_argument");
  make_topic(std::string(200, 'a'));
}

TEST_P(BrokerContract, HeaderOfAMegabyteIsTooLarge) {
  make_topic();
  std::vector<Outgoing> batch;
  batch.push_back(make_message("a", "hello"));
  batch.back().event.extensions.emplace_back("comment", std::string(1 << 20, 'h'));
  batch.push_back(make_message("b", "hello"));
  for (int i = 0; i < 20'000; ++i) batch.back().event.extensions.emplace_back("n" + std::to_string(i), "v");
  const auto receipts = publish_all(std::move(batch));
  EXPECT_EQ(outcome(receipts[0]), "too_large");
  EXPECT_EQ(outcome(receipts[1]), "too_large");
  EXPECT_NE(receipts[0].error().message.find("at most"), std::string::npos) << receipts[0].error().message;
}

}  // namespace
}  // namespace millrace::contract
