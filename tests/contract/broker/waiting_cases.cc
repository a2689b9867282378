// Looking at what waits.
#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

using std::chrono::minutes;
using Texts = std::vector<std::string>;

Texts data_of(const Result<std::vector<WaitingMessage>>& page) {
  Texts texts;
  if (!page) return {outcome(page)};
  for (const auto& message : *page) texts.push_back(message.event.data);
  return texts;
}

TEST_P(BrokerContract, WhatWaitsIsListedUntilItIsSettledOrDead) {
  MILLRACE_NEEDS(lists_waiting);
  make_topic();
  publish_numbered(4);
  EXPECT_EQ(data_of(await(broker().waiting("t", "g", "", 10))), (Texts{"0", "1", "2", "3"}));
  const auto subscription = subscribe();
  ASSERT_EQ(outcome(await(next(*subscription)->ack())), "ok");
  ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  const auto held = next(*subscription);
  EXPECT_EQ(data_of(await(broker().waiting("t", "g", "", 10))), (Texts{"2", "3"})) << "also what is in work";
  ASSERT_EQ(outcome(await(broker().redrive("t", "g", {}))), "ok");
  const auto page = await(broker().waiting("t", "g", "", 10));
  ASSERT_EQ(data_of(page), (Texts{"1", "2", "3"}));
  EXPECT_EQ(page->front().redrives, 1U);
  ASSERT_EQ(outcome(await(broker().purge("t", "g"))), "ok");
  EXPECT_EQ(data_of(await(broker().waiting("t", "g", "", 10))), Texts{});
}

TEST_P(BrokerContract, WhatWaitsComesInPages) {
  MILLRACE_NEEDS(lists_waiting);
  make_topic();
  publish_numbered(5);
  std::string after;
  Texts all;
  for (;;) {
    const auto page = await(broker().waiting("t", "g", after, 2));
    ASSERT_EQ(outcome(page), "ok");
    if (page->empty()) break;
    ASSERT_LE(page->size(), 2U);
    after = page->back().position;
    for (auto& text : data_of(page)) all.push_back(std::move(text));
  }
  EXPECT_EQ(all, (Texts{"0", "1", "2", "3", "4"}));
  EXPECT_EQ(outcome(await(broker().waiting("t", "g", "nowhere", 2))), "invalid_argument");
  EXPECT_EQ(outcome(await(broker().waiting("t", "none", "", 2))), "not_found");
}

TEST_P(BrokerContract, WhatWaitsSaysWhyAndHowOftenItFailed) {
  MILLRACE_NEEDS(lists_waiting);
  MILLRACE_NEEDS(ordered_keys);
  make_topic();
  std::vector<Outgoing> batch{make_message("late", "late", minutes(5)), make_message("k1", "k1"),
                              make_message("k2", "k2")};
  batch[1].key = batch[2].key = "k";
  for (const auto& receipt : publish_all(std::move(batch))) ASSERT_EQ(outcome(receipt), "ok");
  const auto subscription = subscribe();
  {
    const auto failing = next(*subscription);
    ASSERT_EQ(outcome(await(failing->begin())), "ok");
    ASSERT_EQ(outcome(await(failing->nak(minutes(1), NakReason::failed))), "ok");
  }
  const auto page = await(broker().waiting("t", "g", "", 10));
  ASSERT_EQ(data_of(page), (Texts{"late", "k1", "k2"}));
  EXPECT_GT(page->at(0).due_in.value_or(minutes(0)), minutes(1));
  EXPECT_LE(page->at(1).due_in.value_or(minutes(9)), minutes(1));
  EXPECT_EQ(page->at(1).counters.failures, 1U);
  EXPECT_FALSE(page->at(1).blocked);
  EXPECT_TRUE(page->at(2).blocked);
}

TEST_P(BrokerContract, WhatWaitsIsListedAfterARestart) {
  MILLRACE_NEEDS(lists_waiting);
  MILLRACE_NEEDS_A_DISK();
  make_topic();
  publish_numbered(300);
  restart();
  const auto page = await(broker().waiting("t", "g", "", 1000));
  ASSERT_EQ(outcome(page), "ok");
  ASSERT_EQ(page->size(), 300U);
  EXPECT_EQ(page->back().event.data, "299");
}

}  // namespace
}  // namespace millrace::contract
