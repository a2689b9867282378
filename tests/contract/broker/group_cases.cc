// What a topic says of itself, and groups that go.
#include <algorithm>

#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

using std::chrono::seconds;
using Texts = std::vector<std::string>;

TEST_P(BrokerContract, DescribesATopicAsItWasMade) {
  make_topic({.name = "t",
              .groups = {"g", "fn.f"},
              .lease = seconds(7),
              .bytes_max = 1 << 20,
              .messages_max = 12'345,
              .overdue_after = seconds(99)});
  publish_numbered(3);
  if (survives_restart()) restart();
  auto info = await(broker().describe("t"));
  ASSERT_EQ(outcome(info), "ok");
  std::ranges::sort(info->spec.groups);
  EXPECT_EQ(info->spec.name, "t");
  EXPECT_EQ(info->spec.groups, (Texts{"fn.f", "g"}));
  EXPECT_EQ(info->spec.lease, seconds(7));
  EXPECT_EQ(info->spec.bytes_max, 1U << 20);
  EXPECT_EQ(info->spec.messages_max, 12'345U);
  EXPECT_EQ(info->spec.overdue_after, seconds(99));
  EXPECT_EQ(info->messages, 3U);
  EXPECT_EQ(info->published, 3U);
  EXPECT_EQ(outcome(await(broker().describe("other"))), "not_found");
}

TEST_P(BrokerContract, CountsWhatWasPublishedAlsoOnceItIsDone) {
  make_topic();
  publish_numbered(4);
  const auto subscription = subscribe();
  EXPECT_EQ(drain(*subscription).size(), 4U);
  EXPECT_TRUE(wait_for([this] {
    const auto info = await(broker().describe("t"));
    return info && info->messages == 0;
  }));
  EXPECT_EQ(await(broker().describe("t"))->published, 4U);
}

TEST_P(BrokerContract, ARemovedGroupKeepsNothingBack) {
  make_topic({.name = "t", .groups = {"gone", "g"}});
  publish_numbered(3);
  const auto stays = subscribe();
  EXPECT_EQ(drain(*stays).size(), 3U);
  EXPECT_EQ(await(broker().describe("t"))->messages, 3U);
  ASSERT_EQ(outcome(await(broker().remove_group("t", "gone"))), "ok");
  EXPECT_EQ(await(broker().describe("t"))->messages, 0U);
  EXPECT_EQ(await(broker().describe("t"))->spec.groups, Texts{"g"});
  EXPECT_EQ(outcome(await(broker().lag("t", "gone"))), "not_found");
  EXPECT_EQ(outcome(await(broker().remove_group("t", "gone"))), "not_found");
  publish("later", "later");
  EXPECT_EQ(drain(*stays), Texts{"later"});
  if (!survives_restart()) return;
  restart();
  EXPECT_EQ(await(broker().describe("t"))->spec.groups, Texts{"g"});
  EXPECT_EQ(await(broker().describe("t"))->messages, 0U);
}

TEST_P(BrokerContract, AGroupOfARemovedNameIsANewOne) {
  make_topic({.name = "t", .groups = {"g", "other"}});
  publish_numbered(2);
  {
    const auto subscription = subscribe();
    ASSERT_EQ(outcome(await(next(*subscription)->term("bad", {}))), "ok");
  }
  ASSERT_EQ(outcome(await(broker().remove_group("t", "g"))), "ok");
  {
    const auto again = subscribe();  // what the other one keeps is open to it, too
    EXPECT_EQ(lag().dead, 0U);
    EXPECT_EQ(drain(*again), (Texts{"0", "1"}));
    publish("more", "more");
    EXPECT_EQ(drain(*again), Texts{"more"});
  }
  if (!survives_restart()) return;
  publish("last", "last");
  restart();
  EXPECT_EQ(lag().open(), 1U);
  EXPECT_EQ(lag("t", "other").open(), 4U);
}

TEST_P(BrokerContract, WhatIsHeldIsLostWithItsGroup) {
  make_topic({.name = "t", .groups = {"g", "other"}});
  publish_numbered(2);
  const auto subscription = subscribe();
  const auto held = next(*subscription);
  const auto lost = held->lease_lost();
  ASSERT_EQ(outcome(await(broker().remove_group("t", "g"))), "ok");
  EXPECT_TRUE(wait_for([&] { return lost.stop_requested(); }));
  EXPECT_EQ(outcome(await(held->ack())), "aborted");
  EXPECT_EQ(lag("t", "other").open(), 2U);
}

TEST_P(BrokerContract, ATopicWhoseLastGroupGoesKeepsWhatComesForTheNext) {
  make_topic();
  publish_numbered(2);
  ASSERT_EQ(outcome(await(broker().remove_group("t", "g"))), "ok");
  publish("waits", "waits");
  EXPECT_EQ(await(broker().describe("t"))->messages, 1U);
  if (survives_restart()) restart();
  const auto next_one = subscribe();
  EXPECT_EQ(drain(*next_one), Texts{"waits"});
}

TEST_P(BrokerContract, PlacesOfRemovedGroupsAreUsedAgain) {
  make_topic({.name = "t", .groups = {"stays"}});
  const std::size_t rounds = capabilities().exact_lag ? 200 : 5;  // more than a topic has groups
  for (std::size_t i = 0; i < rounds; ++i) {
    make_topic({.name = "t", .groups = {"stays", "g" + std::to_string(i)}});
    publish(std::to_string(i), "x");
    ASSERT_EQ(outcome(await(broker().remove_group("t", "g" + std::to_string(i)))), "ok") << i;
  }
  EXPECT_EQ(lag("t", "stays").open(), rounds);
}

TEST_P(BrokerContract, AGroupThatWasAddedLateStillHasEverythingAfterARestart) {
  MILLRACE_NEEDS_A_DISK();
  make_topic({.name = "t", .groups = {"g"}});
  publish_numbered(3);
  {
    const auto late = subscribe("t", "late");
  }
  restart();
  EXPECT_EQ(lag("t", "late").open(), 3U);
}

}  // namespace
}  // namespace millrace::contract
