#include "core/ids.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <unordered_set>

namespace millrace {
namespace {

using std::chrono::milliseconds;
using WallTime = std::chrono::system_clock::time_point;

constexpr WallTime kNow{std::chrono::seconds(1'763'712'900)};

TEST(Id, IsTextWithAMeaning) {
  const RunId a("a");
  EXPECT_EQ(a.str(), "a");
  EXPECT_FALSE(a.empty());
  EXPECT_TRUE(RunId().empty());
  EXPECT_LT(a, RunId("b"));
  EXPECT_EQ(a, RunId("a"));
  const std::unordered_set<RunId> set{a, RunId("a"), RunId("b")};
  EXPECT_EQ(set.size(), 2U);
  static_assert(!std::is_convertible_v<std::string, RunId>);
  static_assert(!std::is_convertible_v<EventId, RunId>);
}

TEST(UlidMaker, MakesUlids) {
  UlidMaker maker;
  std::set<std::string> all;
  for (int i = 0; i < 1000; ++i) {
    const auto ulid = maker.make(kNow + milliseconds(i / 10));
    EXPECT_TRUE(is_ulid(ulid)) << ulid;
    EXPECT_TRUE(all.insert(ulid).second) << ulid;
  }
}

TEST(UlidMaker, BeginsWithTheTime) {
  UlidMaker maker(1);
  EXPECT_EQ(maker.make(WallTime(milliseconds(1'469'918'176'385))).substr(0, 10), "01ARYZ6S41");
  EXPECT_EQ(maker.make(WallTime(milliseconds(9'000'000'000'000))).substr(0, 10), "085XWWV400");
}

TEST(UlidMaker, SortsInTheOrderOfMakingWithinOneMillisecond) {
  UlidMaker maker(7);
  std::string last;
  for (int i = 0; i < 100'000; ++i) {
    const auto ulid = maker.make(kNow);
    ASSERT_LT(last, ulid);
    last = ulid;
  }
}

TEST(UlidMaker, SortsInTheOrderOfMakingWhenTheClockStepsBack) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  UlidMaker maker(seed);
  std::string last;
  WallTime now = kNow;
  for (int i = 0; i < 20'000; ++i) {
    now += milliseconds(static_cast<std::int64_t>(random() % 7) - 3);
    if (random() % 1000 == 0) now -= std::chrono::hours(1);
    const auto ulid = maker.make(now);
    ASSERT_LT(last, ulid);
    ASSERT_TRUE(is_ulid(ulid));
    last = ulid;
  }
}

TEST(UlidMaker, SurvivesAClockBeforeTheEpoch) {
  UlidMaker maker(1);
  const auto first = maker.make(WallTime(milliseconds(-5)));
  const auto second = maker.make(WallTime(milliseconds(-4)));
  EXPECT_TRUE(is_ulid(first)) << first;
  EXPECT_TRUE(is_ulid(second)) << second;
  EXPECT_LT(first, second);
  EXPECT_LT(second, maker.make(kNow)) << "a clock that is set right afterwards is believed";
}

TEST(UlidMaker, StartsAfterWhatWasMadeBefore) {
  UlidMaker earlier(1);
  for (int i = 0; i < 100; ++i) (void)earlier.make(kNow);
  const auto last = earlier.make(kNow);
  UlidMaker maker(2);
  UlidMaker elsewhere(3);
  maker.start_after(last);
  elsewhere.start_after(last);
  const auto first = maker.make(kNow - std::chrono::hours(1));
  EXPECT_LT(last, first);
  EXPECT_TRUE(is_ulid(first)) << first;
  EXPECT_NE(first, elsewhere.make(kNow - std::chrono::hours(1))) << "two that start after the same one";
  const auto right = maker.make(kNow + std::chrono::hours(1));
  maker.start_after(last);
  EXPECT_LT(right, maker.make(kNow)) << "one that is behind us changes nothing";
}

TEST(UlidMaker, StartsAfterNothingThatIsNoUlidOrTheLastOne) {
  for (const char* text : {"", "~", "zzzzzzzzzzzzzzzzzzzzzzzzzz", "7ZZZZZZZZZ0000000000000000"}) {
    UlidMaker maker(1);
    maker.start_after(text);
    EXPECT_EQ(maker.make(kNow), UlidMaker(1).make(kNow)) << text;
  }
}

TEST(UlidMaker, RepeatsWithItsSeed) {
  UlidMaker a(42);
  UlidMaker b(42);
  UlidMaker c(43);
  const auto from_a = a.make(kNow);
  EXPECT_EQ(from_a, b.make(kNow));
  EXPECT_NE(from_a, c.make(kNow));
  EXPECT_NE(UlidMaker().make(kNow), UlidMaker().make(kNow)) << "the system's seed differs";
}

TEST(IsUlid, KnowsTheAlphabetAndTheRange) {
  EXPECT_TRUE(is_ulid("01ARZ3NDEKTSV4RRFFQ69G5FAV"));
  EXPECT_TRUE(is_ulid("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"));
  for (const std::string text :
       {"", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01ARZ3NDEKTSV4RRFFQ69G5FA", "01ARZ3NDEKTSV4RRFFQ69G5FAVX",
        "01ARZ3NDEKTSV4RRFFQ69G5FAU", "01ARZ3NDEKTSV4RRFFQ69G5FAI", "01arz3ndektsv4rrffq69g5fav",
        "01ARZ3NDEKTSV4RRFFQ69G5FA-"}) {
    EXPECT_FALSE(is_ulid(text)) << text;
  }
}

TEST(RandomHex, HasTwoDigitsAByteAndDiffers) {
  EXPECT_EQ(random_hex(0), "");
  const auto a = random_hex(16);
  EXPECT_EQ(a.size(), 32U);
  EXPECT_EQ(a.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(a, random_hex(16));
  EXPECT_EQ(random_hex(1000).size(), 2000U) << "more than one call to the kernel gives";
}

}  // namespace
}  // namespace millrace
