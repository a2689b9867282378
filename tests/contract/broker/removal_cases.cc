// Topics that go.
#include <algorithm>

#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Texts = std::vector<std::string>;

TEST_P(BrokerContract, ARemovedTopicIsGoneWithAllThatItHad) {
  make_topic({.name = "t", .groups = {"g", "other"}});
  make_topic("stays");
  publish_numbered(3);
  publish_numbered(2, "stays");
  {
    const auto subscription = subscribe();
    ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  }
  ASSERT_EQ(outcome(await(broker().remove_topic("t"))), "ok");
  const auto looks_gone = [this] {
    EXPECT_EQ(await(broker().topics()).value_or(Texts{}), Texts{"stays"});
    EXPECT_EQ(outcome(await(broker().describe("t"))), "not_found");
    EXPECT_EQ(outcome(await(broker().lag("t", "g"))), "not_found");
    EXPECT_EQ(outcome(await(broker().dead_letters("t", "g", "", 10))), "not_found");
    EXPECT_EQ(outcome(await(broker().redrive("t", "g", {}))), "not_found");
    EXPECT_EQ(outcome(await(broker().purge("t", "g"))), "not_found");
    EXPECT_EQ(outcome(await(broker().remove_group("t", "g"))), "not_found");
    EXPECT_EQ(outcome(await(broker().subscribe({.topic = "t", .group = "g"}))), "not_found");
    EXPECT_EQ(outcome(await(broker().remove_topic("t"))), "not_found");
    EXPECT_EQ(outcome(publish_all({make_message("late", "late")})[0]), "not_found");
    EXPECT_EQ(lag("stays", "g").open(), 2U);
  };
  looks_gone();
  if (!survives_restart()) return;
  restart();
  looks_gone();
  crash();
  looks_gone();
}

TEST_P(BrokerContract, ATopicMadeAgainUnderItsNameBeginsFromNothing) {
  make_topic({.name = "t", .groups = {"g", "other"}, .messages_max = 2});
  publish_numbered(2);
  EXPECT_EQ(outcome(publish_all({make_message("more", "more")})[0]), "no_space");
  {
    const auto subscription = subscribe();
    ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  }
  ASSERT_EQ(outcome(await(broker().remove_topic("t"))), "ok");
  make_topic({.name = "t", .groups = {"g"}});
  const auto made = await(broker().describe("t"));
  ASSERT_EQ(outcome(made), "ok");
  EXPECT_EQ(made->spec.groups, Texts{"g"});
  EXPECT_GT(made->spec.messages_max, 2U);
  EXPECT_EQ(made->messages, 0U);
  EXPECT_EQ(made->published, 0U);
  publish_numbered(3);  // none of the ids is known
  EXPECT_EQ(lag().open(), 3U);
  EXPECT_EQ(lag().dead, 0U);
  if (survives_restart()) restart();
  EXPECT_EQ(await(broker().describe("t"))->published, 3U);
  EXPECT_EQ(lag().open(), 3U);
  const auto subscription = subscribe();
  EXPECT_EQ(drain(*subscription), (Texts{"0", "1", "2"}));
}

TEST_P(BrokerContract, WhatIsHeldIsLostWithItsTopicAndTouchesNoOtherOfItsName) {
  make_topic();
  publish_numbered(2);
  const auto before = subscribe();
  const auto held = next(*before);
  const auto begun = next(*before);
  ASSERT_EQ(outcome(await(begun->begin())), "ok");
  const auto lost = held->lease_lost();
  ASSERT_EQ(outcome(await(broker().remove_topic("t"))), "ok");
  EXPECT_TRUE(wait_for([&] { return lost.stop_requested(); }));
  make_topic();
  publish_numbered(2);
  EXPECT_EQ(outcome(await(held->begin())), "aborted");
  EXPECT_EQ(outcome(await(held->extend())), "aborted");
  EXPECT_EQ(outcome(await(held->ack())), "aborted");
  EXPECT_EQ(outcome(await(held->nak(seconds(1), NakReason::failed))), "aborted");
  EXPECT_EQ(outcome(await(begun->term("bad", {}))), "aborted");
  EXPECT_EQ(outcome(await(before->next({}))), "not_found");
  EXPECT_EQ(lag().open(), 2U);
  EXPECT_EQ(lag().dead, 0U);
  const auto subscription = subscribe();
  const auto first = next(*subscription);
  EXPECT_EQ(await(first->begin()).value_or(Counters{.losses = 99}).losses, 0U);
  EXPECT_EQ(outcome(await(first->ack())), "ok");
  EXPECT_EQ(drain(*subscription), Texts{"1"});
}

TEST_P(BrokerContract, WhoeverWaitsForAMessageOfATopicHearsThatItIsRemoved) {
  make_topic();
  const auto subscription = subscribe();
  const auto waiting = start(subscription->next({}));
  advance(milliseconds(0));
  ASSERT_EQ(outcome(await(broker().remove_topic("t"))), "ok");
  finish(*waiting);
  EXPECT_EQ(outcome(*waiting->value), "not_found");
}

TEST_P(BrokerContract, OfAPublishToATopicThatGoesEachEventIsConfirmedOrNotFound) {
  make_topic();
  make_topic("stays");
  const auto batch = [] {
    std::vector<Outgoing> messages;
    for (int i = 0; i < 50; ++i) messages.push_back(make_message(std::to_string(i), std::string(10'000, 'x')));
    return messages;
  };
  const auto before = start(broker().publish("t", batch()));
  const auto other = start(broker().publish("stays", batch()));
  const auto removed = start(broker().remove_topic("t"));
  const auto behind = start(broker().publish("t", batch()));
  finish(*removed);
  EXPECT_EQ(outcome(*removed->value), "ok");
  for (const auto& publishing : {before, behind}) {
    // What a server was about to store when the topic went it may not answer at all.
    for (int i = 0; i < 1000 && !publishing->done(); ++i) advance(milliseconds(100));
    finish(*publishing);
    for (const auto& receipt : *publishing->value) {
      EXPECT_TRUE(receipt || receipt.error().code == Errc::not_found) << outcome(receipt);
    }
  }
  finish(*other);
  EXPECT_TRUE(std::ranges::all_of(*other->value, [](const auto& receipt) { return receipt.has_value(); }));
  EXPECT_EQ(outcome(await(broker().describe("t"))), "not_found");
  if (survives_restart()) restart();
  EXPECT_EQ(lag("stays", "g").open(), 50U);
}

TEST_P(BrokerContract, KeysAndPrioritiesOfATopicMadeAgainKnowNothingOfTheOneBefore) {
  MILLRACE_NEEDS(ordered_keys);
  MILLRACE_NEEDS(priorities);
  const auto marked = [](const std::string& id) {
    auto message = make_message(id, id);
    message.key = "key";
    message.priority = Priority::high;
    return message;
  };
  for (int life = 0; life < 2; ++life) {
    make_topic();
    for (const auto* const id : {"0", "1"}) ASSERT_EQ(outcome(publish_all({marked(id)})[0]), "ok");
    const auto subscription = subscribe();
    const auto first = next(*subscription);
    EXPECT_EQ(first->event().data, "0");
    EXPECT_EQ(lag().blocked + lag().pending, 1U);
    if (life == 1) {
      EXPECT_EQ(outcome(await(first->ack())), "ok");
      EXPECT_EQ(drain(*subscription), Texts{"1"});
    }
    ASSERT_EQ(outcome(await(broker().remove_topic("t"))), "ok");
  }
}

TEST_P(BrokerContract, TopicsWithoutAGroupAndDelayedEventsGoAsWell) {
  make_topic({.name = "t", .groups = {}});
  publish("0", "0");
  publish("1", "1", seconds(1));
  ASSERT_EQ(outcome(await(broker().remove_topic("t"))), "ok");
  make_topic();
  EXPECT_EQ(lag().open(), 0U);
  publish("1", "again");
  advance(seconds(2));
  const auto subscription = subscribe();
  EXPECT_EQ(drain(*subscription), Texts{"again"});
}

TEST_P(BrokerContract, TopicsComeAndGoAsOftenAsWanted) {
  make_topic("stays");
  const int rounds = capabilities().exact_lag ? 300 : 5;
  for (int i = 0; i < rounds; ++i) {
    const std::string name = "t" + std::to_string(i % 3);
    make_topic({.name = name, .groups = {"g" + std::to_string(i), "g"}});
    publish(std::to_string(i), "x", {}, name);
    publish(std::to_string(i), "x", {}, "stays");
    ASSERT_EQ(outcome(await(broker().remove_topic(name))), "ok") << i;
  }
  EXPECT_EQ(await(broker().topics()).value_or(Texts{}), Texts{"stays"});
  if (survives_restart()) restart();
  EXPECT_EQ(await(broker().topics()).value_or(Texts{}), Texts{"stays"});
  EXPECT_EQ(lag("stays", "g").open(), static_cast<std::uint64_t>(rounds));
}

}  // namespace
}  // namespace millrace::contract
