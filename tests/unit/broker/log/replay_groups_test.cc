// Groups that come late or go, as their records bring them back; first of all in a log whose oldest segment was given
// up.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "broker/log/record_bodies.h"
#include "tests/unit/broker/log/replay_bench.h"

namespace millrace::wal {
namespace {

class ReplayGroups : public ReplayBench {
 protected:
  void message(std::uint64_t seq, std::uint64_t open) {
    std::string body;
    const std::string id = std::to_string(seq);
    encode(body, MessageBody{.open = open, .published_ms = 1'699'999'999'000, .id = id});
    apply({.type = RecordType::message, .seq = seq}, body);
  }
  void group(std::uint16_t index, GroupBody::Says says, const std::string& name) {
    std::string body;
    encode(body, GroupBody{.says = says, .name = name});
    apply({.type = RecordType::group, .group = index}, body);
  }
  void topic() {
    std::string body;
    encode(body, TopicBody{.lease_ms = 1000, .bytes_max = 1 << 30, .messages_max = 1 << 30, .name = "t"});
    apply({.type = RecordType::topic}, body);
  }
  void settled(std::uint16_t index, std::uint64_t seq) {
    apply({.type = RecordType::settled, .group = index, .seq = seq}, {});
  }
  std::uint64_t pending(const std::string& name) {
    const auto found = topics_.find("t");
    GroupState* state = found == nullptr ? nullptr : found->find_group(name);
    return state == nullptr ? 999 : state->lag(kNow).pending;
  }
  void recover() {
    ASSERT_TRUE(replay_.check_complete());
    static_cast<void>(topics_.find("t")->recover());
  }
};

TEST_F(ReplayGroups, OneThatCameLateHasWhatStandsBeforeIt) {
  topic();
  group(0, GroupBody::Says::added, "early");
  message(0, 1);
  message(1, 1);
  group(1, GroupBody::Says::added, "late");
  settled(1, 0);
  message(2, 3);
  recover();
  EXPECT_EQ(pending("early"), 3U);
  EXPECT_EQ(pending("late"), 2U);
}

TEST_F(ReplayGroups, OneThatCameLateHasThemAlsoWhereTheFirstIsNamedFurtherOn) {
  message(0, 1);
  group(1, GroupBody::Says::added, "late");
  topic();
  group(0, GroupBody::Says::name, "early");
  recover();
  EXPECT_EQ(pending("early"), 1U);
  EXPECT_EQ(pending("late"), 1U);
}

TEST_F(ReplayGroups, ARemovedOneHoldsNothingAndItsNumberIsUsedAgain) {
  topic();
  group(0, GroupBody::Says::added, "gone");
  group(1, GroupBody::Says::added, "stays");
  message(0, 3);
  message(1, 3);
  settled(1, 0);
  group(0, GroupBody::Says::removed, {});
  message(2, 2);
  group(0, GroupBody::Says::added, "next");
  message(3, 3);
  recover();
  EXPECT_EQ(pending("gone"), 999U);
  EXPECT_EQ(pending("stays"), 3U);
  EXPECT_EQ(pending("next"), 3U) << "what the other one had not settled when it came, and what came later";
  EXPECT_EQ(topics_.find("t")->size(), 3U);
}

TEST_F(ReplayGroups, APlaceThatIsFreeNeedsNoName) {
  topic();
  group(1, GroupBody::Says::name, "stays");
  EXPECT_FALSE(replay_.check_complete()) << "of the first nothing is known";
  group(0, GroupBody::Says::removed, {});
  message(0, 2);
  recover();
  EXPECT_EQ(topics_.find("t")->all_groups(), 2U);
  EXPECT_EQ(topics_.find("t")->free_group(), 0U);
}

TEST_F(ReplayGroups, AnUnknownWordIsDamage) {
  std::string body("\x03\0\0\0g", 5);
  const auto applied = replay_.apply(
      {.head = {.type = RecordType::group}, .body = body, .length = static_cast<std::uint32_t>(40 + body.size())},
      kPlace);
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::data_loss);
}

}  // namespace
}  // namespace millrace::wal
