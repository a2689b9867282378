#include "broker/nats/names.h"

#include <gtest/gtest.h>

#include <string>

#include "broker/nats/wire.h"

namespace millrace::nats {
namespace {

TEST(NatsMarks, SubjectsTellPriorityKeyAndForWhom) {
  const auto names = *Names::make("millrace");
  for (const Priority priority : {Priority::low, Priority::normal, Priority::high}) {
    for (const std::string& key : {std::string(), key_digest("order 7")}) {
      for (const std::string group : {"", "workers", "fn.x"}) {
        const Mark mark{.group = group, .priority = priority, .key = key};
        EXPECT_EQ(names.mark_of(names.marked("fn.resize", mark)), mark);
      }
    }
  }
  EXPECT_TRUE(Mark{}.plain());
  EXPECT_FALSE((Mark{.key = key_digest("a")}).plain());
}

TEST(NatsMarks, WhatIsNoMarkedSubjectIsNone) {
  const auto names = *Names::make("millrace");
  for (const std::string subject :
       {"", "millrace", "millrace.k", "millrace.k.t", "millrace.k.t.ALL.high", "millrace.k.t.ALL.urgent.-",
        "millrace.k.t.ALL.high.xyz", "millrace.k.t.ALL.high.-.more", "millrace.k.t..high.-", "millrace.t.t",
        "other.k.t.ALL.high.-", "millrace.k.t.ALL.high.0123456789ABCDEF0123456789ABCDEF"}) {
    EXPECT_FALSE(names.mark_of(subject)) << subject;
  }
}

TEST(NatsMarks, EqualKeysHaveEqualDigestsAndOthersOthers) {
  EXPECT_EQ(key_digest("a"), key_digest("a"));
  EXPECT_NE(key_digest("a"), key_digest("b"));
  EXPECT_NE(key_digest(std::string("a\0", 2)), key_digest("a"));
  EXPECT_TRUE(is_key_digest(key_digest("\xff\n.*>")));
}

TEST(NatsNames, ConsumersBesideAGroupAreNoGroups) {
  EXPECT_EQ(Names::group_of(Names::consumer("fn.x")), "fn.x");
  EXPECT_FALSE(Names::group_of(Names::consumer("g", Priority::high)));
  EXPECT_FALSE(Names::group_of(Names::consumer("g", Priority::low)));
  EXPECT_FALSE(Names::group_of(kKeeper));
}

TEST(NatsNames, NewsAreReadAndEverythingElseIsNone) {
  const auto names = *Names::make("millrace");
  const std::string told = names.turn_news("fn.x", "g.h", key_digest("a"));
  const auto turn = names.news_of(told);
  ASSERT_TRUE(turn);
  EXPECT_EQ(turn->kind, 'n');
  EXPECT_EQ(turn->topic, "fn.x");
  EXPECT_EQ(turn->group, "g.h");
  EXPECT_EQ(turn->digest, key_digest("a"));
  const auto prioritized = names.news_of(names.prioritized("fn.x"));
  ASSERT_TRUE(prioritized);
  EXPECT_EQ(prioritized->kind, 'p');
  EXPECT_EQ(prioritized->topic, "fn.x");
  const auto removed = names.news_of(names.removed("fn.x"));
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->kind, 'x');
  EXPECT_EQ(removed->topic, "fn.x");
  for (const std::string subject : {"", "millrace", "millrace.n", "millrace.n.t", "millrace.n.t.g.x", "millrace.q.t",
                                    "millrace.n.t.g.0123456789abcdef0123456789abcdef.more", "x.n.t.g.d"}) {
    EXPECT_FALSE(names.news_of(subject)) << subject;
  }
}

TEST(NatsWire, RecordsOfTurnsComeBackAndForeignOnesAreDataLoss) {
  EXPECT_EQ(*decode_turn(encode_turn(0)), 0U);
  EXPECT_EQ(*decode_turn(encode_turn(~std::uint64_t{0})), ~std::uint64_t{0});
  for (const std::string text : {"", "-1", "1 ", "x", "99999999999999999999999"}) {
    ASSERT_FALSE(decode_turn(text)) << text;
    EXPECT_EQ(decode_turn(text).error().code, Errc::data_loss);
  }
}

TEST(NatsWire, DeadLettersKeepTheirMarkAndStrangersCannotForgeOne) {
  Kept kept;
  kept.headers = {{"millrace-key", key_digest("a")}, {"millrace-priority", "high"}};
  EXPECT_EQ(mark_of_dead(kept), (Mark{.priority = Priority::high, .key = key_digest("a")}));
  kept.headers = {{"millrace-key", "*"}, {"millrace-priority", "urgent"}};
  EXPECT_EQ(mark_of_dead(kept), Mark{});
  const Packet packet = encode_redriven(kept, "s");
  for (const auto& [name, value] : packet.headers) EXPECT_NE(name, "millrace-key");
}

}  // namespace
}  // namespace millrace::nats
