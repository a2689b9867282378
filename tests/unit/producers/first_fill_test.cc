#include "producers/first_fill.h"

#include <gmock/gmock.h>

#include "tests/unit/producers/producer_rig.h"

namespace millrace::test {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;

class FirstFillTest : public ::testing::Test {
 protected:
  FirstRows collect(FirstFill::Options options = {}) {
    auto found = try_collect(options);
    EXPECT_TRUE(found) << found.error().message;
    std::ranges::sort(found->unfinished);
    return std::move(*found);
  }
  Result<FirstRows> try_collect(FirstFill::Options options = {}) {
    if (!rig.registry.find("f")) rig.load();
    FirstFill fill(rig.loop, rig.objects, rig.checks, options);
    return rig.run(fill.collect(rig.trigger("f")));
  }
  // Seconds before what the loop says is now.
  std::int64_t ago(std::int64_t age_s) {
    return std::chrono::duration_cast<seconds>(rig.loop.wall_now().time_since_epoch()).count() - age_s;
  }

  ProducerRig rig;
};

TEST_F(FirstFillTest, CountsWhatIsThereAsSeen) {
  rig.function("f", "/in");
  rig.objects.put("in/a", "text");
  rig.objects.put("in/deep/b", "text");
  rig.objects.put("other", "text");
  const auto found = collect();
  EXPECT_THAT(found.rows, ElementsAre(Key("in/a"), Key("in/deep/b")));
  EXPECT_EQ(found.rows.at("in/a"), rig.id_of("in/a"));
  EXPECT_THAT(found.unfinished, IsEmpty());
}

TEST_F(FirstFillTest, GivesNoRowToWhatIsBeingWritten) {
  rig.function("f");
  rig.objects.put("open", "text");
  rig.objects.put("quiet", "text");
  rig.checks.open_inodes.insert(rig.objects.version("open").inode);
  const auto found = collect();
  EXPECT_THAT(found.rows, ElementsAre(Key("quiet")));
  EXPECT_THAT(found.unfinished, ElementsAre("open"));
}

TEST_F(FirstFillTest, GoesByAgeWhereWritersCannotBeTold) {
  rig.function("f");
  rig.checks.state = WriteState::unknown;
  rig.objects.put("just now", "text", ago(1));
  rig.objects.put("two seconds ago", "text", ago(2));
  rig.objects.put("in a moment", "text", ago(-1));
  rig.objects.put("in a year", "text", ago(-31'000'000));
  const auto found = collect();
  EXPECT_THAT(found.rows, ElementsAre(Key("in a year"), Key("two seconds ago")));
  EXPECT_THAT(found.unfinished, ElementsAre("in a moment", "just now"));
}

TEST_F(FirstFillTest, KeepsTheFunctionsOwnSettleTime) {
  rig.function("f").settle = seconds(60);
  rig.objects.put("a minute old", "text", ago(60));
  rig.objects.put("younger", "text", ago(59));
  const auto found = collect();
  EXPECT_THAT(found.rows, ElementsAre(Key("a minute old")));
  EXPECT_THAT(found.unfinished, ElementsAre("younger"));
}

TEST_F(FirstFillTest, GivesIgnoredNamesTheirRowsWithoutALook) {
  rig.function("f");
  rig.objects.put("a.part", "text");
  rig.checks.open_inodes.insert(rig.objects.version("a.part").inode);
  EXPECT_THAT(collect().rows, ElementsAre(Key("a.part")));
  EXPECT_EQ(rig.checks.checks, 0U);
}

TEST_F(FirstFillTest, LooksAtABoundedNumberAtATimeOnEveryPage) {
  rig.function("f");
  for (int i = 0; i < 57; ++i) rig.objects.put(std::to_string(i), "text");
  const auto found = collect({.page = 10, .probes_max = 3});
  EXPECT_EQ(found.rows.size(), 57U);
  EXPECT_EQ(rig.checks.at_once_max, 3U);
  EXPECT_EQ(rig.objects.lists, 6U);
}

TEST_F(FirstFillTest, PassesOverWhatGoesAwayMeanwhile) {
  rig.function("f");
  rig.objects.put("a", "text");
  rig.objects.put("gone", "text");
  rig.objects.put("link by now", "text");
  rig.objects.open_fails = {{"gone", Errc::not_found}, {"link by now", Errc::failed_precondition}};
  EXPECT_THAT(collect().rows, ElementsAre(Key("a")));
}

TEST_F(FirstFillTest, FailsWhereItCannotLook) {
  rig.function("f");
  rig.objects.put("a", "text");
  rig.objects.open_fails["a"] = Errc::unavailable;
  EXPECT_EQ(try_collect().error().code, Errc::unavailable);
  rig.objects.open_fails.clear();
  rig.objects.list_fails = Errc::permission_denied;
  EXPECT_EQ(try_collect().error().code, Errc::permission_denied);
}

}  // namespace
}  // namespace millrace::test
