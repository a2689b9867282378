#include "producers/reconciler.h"

#include <gmock/gmock.h>

#include "tests/unit/producers/producer_rig.h"

namespace millrace::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Remembers what it was shown.
class Onlooker final : public CandidateExaminer {
 public:
  explicit Onlooker(EventLoop& loop) : loop_(loop) {}
  std::vector<std::string> shown;
  Task<Verdict> examine(ObjectName name, std::optional<Settling>) override {
    co_await yield(loop_);
    shown.push_back(name.key);
    co_return Verdict{};
  }

 private:
  EventLoop& loop_;
};

class ReconcilerTest : public ::testing::Test {
 protected:
  static constexpr auto kNow = Reconciler::FirstScan::now;
  static constexpr auto kLater = Reconciler::FirstScan::after_rescan_time;

  ReconcilerTest() { rig.function("f"); }

  Reconciler& reconciler(Reconciler::Options options = {}) {
    rig.load();
    reconciler_.emplace(rig.loop, rig.registry, rig.objects, rig.seen, candidates, options, rig.metrics, rig.log);
    return *reconciler_;
  }
  std::vector<std::string> found() {
    rig.loop.run_for(EventLoop::Duration(0));
    std::ranges::sort(onlooker.shown);
    return onlooker.shown;
  }
  std::map<std::string, EventId>& rows() { return rig.seen.rows[rig.trigger("f").id]; }

  ProducerRig rig;
  Onlooker onlooker{rig.loop};
  Candidates candidates{rig.loop, onlooker, {}, rig.metrics, rig.log};
  std::optional<Reconciler> reconciler_;
};

TEST_F(ReconcilerTest, FindsWhatIsNewOrOtherAndForgetsWhatIsGone) {
  auto& all = reconciler();
  for (const char* key : {"c-same", "d-other", "e-new", "z-new"}) rig.objects.put(key, "text");
  rig.seen_already("f", "c-same");
  for (const char* key : {"a-gone", "d-other", "d-other2", "e", "zz-gone"}) rows()[key] = EventId("x");
  all.start(rig.trigger("f"), kNow);
  EXPECT_THAT(found(), ElementsAre("d-other", "e-new", "z-new"));
  EXPECT_THAT(rows(), ElementsAre(::testing::Key("c-same"), ::testing::Key("d-other")));
}

TEST_F(ReconcilerTest, PassesOverWhatTheFunctionDoesNotWant) {
  auto& all = reconciler();
  rig.objects.put("a.part", "text");
  rig.objects.put("folder/.hidden", "text");
  all.start(rig.trigger("f"), kNow);
  EXPECT_THAT(found(), IsEmpty());
}

TEST_F(ReconcilerTest, LooksMoreOftenThanTheFunctionSaysWhereNothingIsNotified) {
  rig.functions.stored.front().rescan = minutes(5);
  auto& all = reconciler({.rescan_max = seconds(10)});
  all.start(rig.trigger("f"), kLater);
  rig.objects.put("a", "text");
  rig.loop.run_for(seconds(9));
  EXPECT_THAT(found(), IsEmpty());
  rig.loop.run_for(seconds(2));
  EXPECT_THAT(found(), ElementsAre("a"));
}

TEST_F(ReconcilerTest, LooksAlsoForAFunctionThatSaysNeverWhereNothingIsNotified) {
  rig.functions.stored.front().rescan = seconds(0);
  auto& all = reconciler({.rescan_max = seconds(10)});
  all.start(rig.trigger("f"), kLater);
  rig.objects.put("a", "text");
  rig.loop.run_for(seconds(11));
  EXPECT_THAT(found(), ElementsAre("a"));
}

TEST_F(ReconcilerTest, GoesThroughAllPages) {
  auto& all = reconciler({.page = 10});
  std::vector<std::string> expected;
  for (int i = 0; i < 95; ++i) {
    const std::string key = std::to_string(100 + i);
    rig.objects.put(key, "text");
    if (i % 2 == 0) {
      rig.seen_already("f", key);
    } else {
      expected.push_back(key);
    }
    if (i % 5 == 0) rows()[key + "-gone"] = EventId("x");
  }
  all.start(rig.trigger("f"), kNow);
  EXPECT_EQ(found(), expected);
  EXPECT_EQ(rows().size(), 48U);
  EXPECT_EQ(rig.objects.lists, 10U);
}

TEST_F(ReconcilerTest, ForgetsEverythingInAnEmptyBucket) {
  auto& all = reconciler();
  for (int i = 0; i < 2'500; ++i) rows()[std::to_string(i)] = EventId("x");
  all.start(rig.trigger("f"), kNow);
  EXPECT_THAT(found(), IsEmpty());
  EXPECT_THAT(rows(), IsEmpty());
}

TEST_F(ReconcilerTest, ScansAgainAfterEachRescanTime) {
  rig.functions.stored.front().rescan = minutes(5);
  auto& all = reconciler();
  all.start(rig.trigger("f"), kLater);
  rig.objects.put("a", "text");
  rig.loop.run_for(milliseconds(299'999));
  EXPECT_THAT(found(), IsEmpty());
  rig.loop.run_for(milliseconds(1));
  EXPECT_THAT(found(), ElementsAre("a"));
  rig.seen_already("f", "a");
  rig.objects.put("b", "text");
  rig.loop.run_for(minutes(5));
  EXPECT_THAT(found(), ElementsAre("a", "b"));
  EXPECT_EQ(rig.metrics.counter("millrace_watch_rescans_total", "").value(), 2U);
}

TEST_F(ReconcilerTest, NeverScansByItselfWhereRescanIsOff) {
  rig.functions.stored.front().rescan = seconds(0);
  auto& all = reconciler();
  rig.objects.put("a", "text");
  all.start(rig.trigger("f"), kLater);
  rig.loop.run_for(std::chrono::hours(100));
  EXPECT_THAT(found(), IsEmpty());
  all.request("b");
  EXPECT_THAT(found(), ElementsAre("a"));
}

TEST_F(ReconcilerTest, ScansOnRequestTheTriggersOfThatBucket) {
  auto& all = reconciler();
  rig.objects.put("a", "text");
  all.start(rig.trigger("f"), kLater);
  all.request("other");
  EXPECT_THAT(found(), IsEmpty());
  all.request("b");
  EXPECT_THAT(found(), ElementsAre("a"));
}

TEST_F(ReconcilerTest, RetriesAFailedScanAndDrainReportsIt) {
  auto& all = reconciler({.retry_base = seconds(10), .retry_cap = seconds(10)});
  rig.objects.put("a", "text");
  rig.objects.list_fails = Errc::unavailable;
  all.start(rig.trigger("f"), kNow);
  EXPECT_EQ(rig.run(all.drain()).error().code, Errc::unavailable);
  EXPECT_EQ(rig.run(all.drain()).error().code, Errc::unavailable);  // tried now, not after the backoff
  EXPECT_THAT(found(), IsEmpty());
  rig.objects.list_fails.reset();
  rig.loop.run_for(seconds(10));
  EXPECT_THAT(found(), ElementsAre("a"));
  EXPECT_TRUE(rig.run(all.drain()));
}

TEST_F(ReconcilerTest, ReportsRowsThatCannotBeRead) {
  auto& all = reconciler();
  rig.seen.fails = Errc::unavailable;
  all.start(rig.trigger("f"), kNow);
  EXPECT_EQ(rig.run(all.drain()).error().code, Errc::unavailable);
}

TEST_F(ReconcilerTest, DrainWaitsForScansThatAreDue) {
  auto& all = reconciler();
  rig.objects.put("a", "text");
  all.start(rig.trigger("f"), kNow);
  EXPECT_TRUE(rig.run(all.drain()));
  EXPECT_THAT(found(), ElementsAre("a"));
  all.request("b");
  rig.objects.put("b", "text");
  EXPECT_TRUE(rig.run(all.drain()));
  EXPECT_EQ(found().size(), 3U);  // "a" has no row yet
  EXPECT_TRUE(rig.run(all.drain()));
  EXPECT_EQ(found().size(), 3U);
}

TEST_F(ReconcilerTest, StopsLookingAfterATriggerThatIsGone) {
  auto& all = reconciler();
  all.start(rig.trigger("f"), kLater);
  all.stop(rig.trigger("f").id);
  rig.objects.put("a", "text");
  all.request("b");
  rig.loop.run_for(std::chrono::hours(1));
  EXPECT_THAT(found(), IsEmpty());
  EXPECT_TRUE(rig.run(all.drain()));
}

TEST_F(ReconcilerTest, AnUpdateChangesTheRescanTime) {
  auto& all = reconciler();
  all.start(rig.trigger("f"), kLater);
  auto spec = *rig.registry.find("f");
  spec.rescan = seconds(1);
  all.start(triggers_of(std::make_shared<const FunctionSpec>(spec)).front(), kLater);
  rig.objects.put("a", "text");
  rig.loop.run_for(seconds(1));
  EXPECT_THAT(found(), ElementsAre("a"));
}

TEST_F(ReconcilerTest, ClosesWhileAScanWaitsForRoom) {
  auto& all = reconciler();
  Candidates narrow(rig.loop, onlooker, {.candidates_max = 0}, rig.metrics, rig.log);
  Reconciler stuck(rig.loop, rig.registry, rig.objects, rig.seen, narrow, {}, rig.metrics, rig.log);
  stuck.start(rig.trigger("f"), kNow);
  rig.loop.run_for(EventLoop::Duration(0));
  TaskGroup group(rig.loop);
  group.spawn(stuck.close());
  group.spawn(all.close());
  rig.loop.run_for(EventLoop::Duration(0));
  EXPECT_EQ(group.size(), 0U);
}

}  // namespace
}  // namespace millrace::test
