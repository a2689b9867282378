// Topics that were removed, as their records bring them back: not at all, also after their segments were given up, and
// with their numbers in other hands.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "broker/log/record_bodies.h"
#include "tests/unit/broker/log/log_bench.h"
#include "tests/unit/broker/log/replay_bench.h"

namespace millrace::wal {
namespace {

using testing::ElementsAre;

class ReplayTopics : public ReplayBench {
 protected:
  void topic(std::uint32_t number, const std::string& name, std::uint64_t first_seq = 0) {
    std::string body;
    encode(body, TopicBody{.lease_ms = 1000, .bytes_max = 1 << 30, .messages_max = 1 << 30, .name = name});
    apply({.type = RecordType::topic, .topic = number, .seq = first_seq}, body);
  }
  void group(std::uint32_t number, const std::string& name) {
    std::string body;
    encode(body, GroupBody{.says = GroupBody::Says::added, .name = name});
    apply({.type = RecordType::group, .topic = number}, body);
  }
  void message(std::uint32_t number, std::uint64_t seq) {
    std::string body;
    const std::string id = std::to_string(seq);
    encode(body,
           MessageBody{.open = 1, .published_ms = 1'699'999'999'000, .known_until_ms = 1'700'000'100'000, .id = id});
    apply({.type = RecordType::message, .topic = number, .seq = seq}, body);
  }
  [[nodiscard]] bool is_complete() const { return replay_.check_complete().has_value(); }
};

TEST_F(ReplayTopics, TheNumberOfARemovedOneIsAnothersAfterwards) {
  topic(0, "gone");
  group(0, "g");
  message(0, 0);
  message(0, 1);
  topic(0, {});
  EXPECT_EQ(topics_.find("gone"), nullptr);
  EXPECT_EQ(topics_.next_id(), 0U);
  topic(0, "next", 2);
  group(0, "h");
  message(0, 2);
  ASSERT_TRUE(is_complete());
  TopicState* next = topics_.find("next");
  ASSERT_NE(next, nullptr);
  static_cast<void>(next->recover());
  EXPECT_EQ(next->size(), 1U);
  EXPECT_EQ(next->dedupe.size(), 1U) << "the ids of the one before are forgotten";
  EXPECT_EQ(next->find_group("g"), nullptr);
  EXPECT_EQ(next->find_group("h")->lag(kNow).pending, 1U);
  EXPECT_EQ(next->next_seq() - next->first_seq(), 1U);
  EXPECT_EQ(topics_.next_id(), 1U);
}

TEST_F(ReplayTopics, ARemovalWhoseTopicWasInASegmentThatIsGoneIsComplete) {
  message(3, 7);
  EXPECT_FALSE(is_complete());
  topic(3, {});
  EXPECT_TRUE(is_complete());
  EXPECT_EQ(topics_.next_id(), 0U) << "the numbers below are free as well";
  topic(0, "a");
  topic(1, "b");
  topic(2, "c");
  EXPECT_EQ(topics_.next_id(), 3U);
  EXPECT_EQ(topics_.first_seq(3), 8U);
}

TEST_F(ReplayTopics, AMessageBehindTheRemovalIsDamage) {
  topic(0, "gone");
  group(0, "g");
  topic(0, {});
  message(0, 5);
  EXPECT_FALSE(is_complete());
}

class RemovedTopics : public testing::Test {
 protected:
  RemovedTopics() {
    bench_.must_open();
    bench_.make_topic("u");
    bench_.make_topic();
  }

  // Publishes and acks so much that the segments from before are given up.
  void churn(const std::string& prefix) {
    const std::string before = bench_.segments().back();
    const auto subscription = bench_.subscribe("u");
    for (int i = 0; bench_.segments().front() <= before; ++i) {
      ASSERT_LT(i, 1000);
      ASSERT_TRUE(bench_.publish(prefix + std::to_string(i), std::string(60'000, 'x'), "u"));
      const auto delivery = bench_.next(*subscription);
      ASSERT_TRUE(bench_.await(delivery->ack()));
    }
  }
  [[nodiscard]] std::vector<std::string> topics() {
    return bench_.await(bench_.broker->topics()).value_or(std::vector<std::string>{});
  }

  LogBench bench_;
};

TEST_F(RemovedTopics, NothingOfThemIsCarriedAlong) {
  ASSERT_TRUE(bench_.publish("a", "x"));
  ASSERT_TRUE(bench_.publish("b", "x"));
  ASSERT_TRUE(bench_.await(bench_.broker->remove_topic("t")));
  churn("a");
  bench_.reopen();
  EXPECT_THAT(topics(), ElementsAre("u"));
  bench_.make_topic("v");  // gets the number
  ASSERT_TRUE(bench_.publish("a", "x", "v"));
  bench_.reopen();
  EXPECT_THAT(topics(), ElementsAre("u", "v"));
  EXPECT_EQ(bench_.lag("v").pending, 1U);
}

TEST_F(RemovedTopics, OneMadeAgainOutlivesTheSegmentsOfTheOneBefore) {
  ASSERT_TRUE(bench_.publish("a", "x"));
  ASSERT_TRUE(bench_.await(bench_.broker->ensure({.name = "t", .groups = {"g", "h", "i"}})));
  ASSERT_TRUE(bench_.await(bench_.broker->remove_topic("t")));
  bench_.make_topic();
  ASSERT_TRUE(bench_.publish("a", "x"));
  ASSERT_TRUE(bench_.publish("b", "x"));
  churn("a");
  churn("b");
  bench_.reopen();
  EXPECT_EQ(bench_.lag().pending, 2U);
  const auto info = bench_.await(bench_.broker->describe("t"));
  ASSERT_TRUE(info);
  EXPECT_THAT(info->spec.groups, ElementsAre("g"));
  EXPECT_EQ(info->published, 2U);
  EXPECT_EQ(bench_.drain(), (std::multiset<std::string>{"a", "b"}));
}

TEST_F(RemovedTopics, WhatIsReadBackWhenItsTopicGoesIsNotHandedOut) {
  bench_.options.cache_bytes_max = 1;
  bench_.reopen();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(bench_.publish(std::to_string(i), std::string(1000, 'x')));
  bench_.reopen();  // nothing is in memory
  const auto subscription = bench_.subscribe();
  TaskGroup group(bench_.loop);
  std::optional<Result<std::unique_ptr<Delivery>>> taken;
  struct Take {
    static Task<void> run(Subscription& from, std::optional<Result<std::unique_ptr<Delivery>>>& to) {
      auto delivery = co_await from.next({});
      to.emplace(std::move(delivery));
    }
  };
  group.spawn(Take::run(*subscription, taken));
  ASSERT_TRUE(bench_.await(bench_.broker->remove_topic("t")));
  ASSERT_TRUE(bench_.loop.run_until([&] { return taken.has_value(); }));
  if (*taken) {  // it was faster
    EXPECT_EQ(bench_.await((**taken)->ack()).error().code, Errc::aborted);
  } else {
    EXPECT_EQ(taken->error().code, Errc::not_found);
  }
}

// As a Millrace of the version before left it.
void make_older(FakeLogFiles& files) {
  for (const auto& name : files.names()) {
    if (!name.starts_with("log-")) continue;
    std::string bytes = files.contents(name);
    auto header = decode_header(bytes);
    ASSERT_TRUE(header);
    header->version = kFormatVersionOldest;
    files.set_contents(name, bytes.replace(0, kSegmentHeaderBytes, encode_header(*header)));
  }
}

TEST_F(RemovedTopics, ALogOfTheVersionBeforeGoesOnInSegmentsOfThisOne) {
  ASSERT_TRUE(bench_.publish("a", "x"));
  const std::string old_one = bench_.segments().front();
  bench_.drop();
  make_older(*bench_.files);
  bench_.must_open();
  ASSERT_TRUE(bench_.await(bench_.broker->remove_topic("t")));
  bench_.make_topic();
  ASSERT_TRUE(bench_.publish("b", "x"));
  for (const auto& name : bench_.segments()) {
    const auto header = decode_header(bench_.files->contents(name));
    ASSERT_TRUE(header);
    EXPECT_EQ(header->version, name == old_one ? kFormatVersionOldest : kFormatVersion) << name;
  }
  bench_.reopen();
  EXPECT_EQ(bench_.drain(), std::multiset<std::string>{"b"});
}

TEST(RemovedTopicsEmpty, ALogOfTheVersionBeforeWithoutContentsGoesOnAsWell) {
  LogBench bench;
  bench.must_open();
  bench.drop();
  make_older(*bench.files);
  bench.must_open();
  bench.make_topic();
  ASSERT_TRUE(bench.publish("a", "x"));
  bench.reopen();
  EXPECT_EQ(bench.lag().pending, 1U);
}

}  // namespace
}  // namespace millrace::wal
