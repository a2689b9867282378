#include "engine/run_feed.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/run_table.h"
#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

using Steps = std::vector<std::string>;

class RunFeedTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  RunFeedTest() { runs_.listen(feed_); }

  static LiveRun run(const std::string& id, const std::string& function = "f") {
    LiveRun one;
    one.run_id = RunId(id);
    one.function = function;
    return one;
  }
  std::shared_ptr<RunFeed::Reader> open(const std::string& function = {}) { return feed_.open(function).value(); }
  RunFeed::Batch next(const std::shared_ptr<RunFeed::Reader>& reader) {
    return rig_.wait(feed_.next(reader, 15s, {})).value();
  }
  static Steps steps(const RunFeed::Batch& batch) {
    Steps told;
    for (const auto& news : batch.news) {
      told.push_back(news->run.run_id.str() + " " +
                     std::string(news->end ? name_of(news->end->outcome) : name_of(news->run.state)));
    }
    return told;
  }

  EngineRig rig_{GetParam()};
  RunTable runs_;
  RunFeed feed_{rig_.loop, {.readers_max = 3, .news_max = 4}, rig_.parts.metrics};
};
INSTANTIATE_TEST_SUITE_P(Seeds, RunFeedTest, testing::Range<std::uint64_t>(1, 4));

TEST_P(RunFeedTest, TellsEveryStepAndTheEndInTheirOrder) {
  const auto reader = open();
  runs_.queued(run("a"));
  {
    RunTable::Active active(runs_, run("a"));
    active.state(RunState::running, {});
    active.ended({.outcome = RunOutcome::dead_lettered, .reason = "exit code 1"});
    EXPECT_EQ(steps(next(reader)), (Steps{"a queued", "a queued", "a running"})) << "its outputs are not placed yet";
  }
  const auto batch = next(reader);
  ASSERT_EQ(steps(batch), Steps{"a dead_lettered"});
  EXPECT_EQ(batch.news[0]->run.state, RunState::done);
  EXPECT_EQ(batch.news[0]->end->reason, "exit code 1");
}

TEST_P(RunFeedTest, ARunThatWaitsAgainHasNotEnded) {
  const auto reader = open();
  {
    RunTable::Active active(runs_, run("a"));
    active.ended({.outcome = RunOutcome::succeeded});
    active.waits_for_retry({});
  }
  EXPECT_EQ(steps(next(reader)), (Steps{"a queued", "a waiting_retry"}));
}

TEST_P(RunFeedTest, AWaitingReaderIsWokenAndASilentTimeIsAnEmptyBatch) {
  const auto reader = open();
  EXPECT_TRUE(next(reader).news.empty());
  std::optional<Result<RunFeed::Batch>> batch;
  rig_.group.spawn(keep_value(feed_.next(reader, 15s, {}), batch));
  rig_.loop.run_for(14s);
  ASSERT_FALSE(batch);
  runs_.queued(run("a"));
  rig_.loop.run_for(0s);
  ASSERT_TRUE(batch);
  EXPECT_EQ(steps(**batch), Steps{"a queued"});
}

TEST_P(RunFeedTest, AReaderOfOneFunctionHearsOfNoOther) {
  const auto reader = open("g");
  runs_.queued(run("a", "f"));
  runs_.queued(run("b", "g"));
  EXPECT_EQ(steps(next(reader)), Steps{"b queued"});
}

TEST_P(RunFeedTest, ASlowReaderMissesTheOldestIsToldSoAndHoldsNobodyBack) {
  const auto slow = open();
  const auto quick = open();
  for (int i = 0; i < 10; ++i) {
    runs_.queued(run(std::to_string(i)));
    EXPECT_EQ(next(quick).news.size(), 1U);
  }
  const auto batch = next(slow);
  EXPECT_EQ(batch.skipped, 6U);
  EXPECT_EQ(steps(batch), (Steps{"6 queued", "7 queued", "8 queued", "9 queued"}));
  runs_.queued(run("10"));
  EXPECT_EQ(next(slow).skipped, 0U);
  EXPECT_NE(rig_.parts.metrics.render().find("millrace_feed_skipped_total 6"), std::string::npos);
}

TEST_P(RunFeedTest, ReadersAreBoundedAndThoseWhoLeftDoNotCount) {
  auto one = open();
  const auto two = open();
  const auto three = open();
  const auto refused = feed_.open("");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::resource_exhausted);
  one.reset();
  EXPECT_TRUE(feed_.open(""));
}

TEST_P(RunFeedTest, AReaderThatLeavesStopsWaiting) {
  const auto reader = open();
  std::stop_source left;
  std::optional<Result<RunFeed::Batch>> batch;
  rig_.group.spawn(keep_value(feed_.next(reader, 15s, left.get_token()), batch));
  rig_.loop.run_for(1s);
  left.request_stop();
  rig_.loop.run_for(0s);
  ASSERT_TRUE(batch);
  ASSERT_FALSE(*batch);
  EXPECT_EQ(batch->error().code, Errc::cancelled);
}

}  // namespace
}  // namespace millrace
