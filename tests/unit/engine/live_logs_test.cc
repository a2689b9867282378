#include "engine/live_logs.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class LiveLogsTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  LiveLogs::Piece next(const std::shared_ptr<LiveLog>& log, std::uint64_t from) {
    return rig_.wait(logs_.next(log, from, 15s, {})).value();
  }

  EngineRig rig_{GetParam()};
  LiveLogs logs_{rig_.loop};
  std::shared_ptr<LiveLog> log_ = logs_.open(RunId("a"), AttemptToken("t"));
};
INSTANTIATE_TEST_SUITE_P(Seeds, LiveLogsTest, testing::Range<std::uint64_t>(1, 4));

TEST_P(LiveLogsTest, ShowsWhatIsThereAndThenWhatComes) {
  log_->append("one ");
  auto piece = next(logs_.find(RunId("a")), 0);
  EXPECT_EQ(piece.bytes, "one ");
  EXPECT_EQ(piece.next, 4U);
  EXPECT_FALSE(piece.over);

  std::optional<Result<LiveLogs::Piece>> waiting;
  rig_.group.spawn(keep_value(logs_.next(log_, piece.next, 15s, {}), waiting));
  rig_.loop.run_for(14s);
  ASSERT_FALSE(waiting);
  log_->append("two");
  rig_.loop.run_for(0s);
  ASSERT_TRUE(waiting);
  EXPECT_EQ((*waiting)->bytes, "two");
  EXPECT_EQ((*waiting)->next, 7U);
}

TEST_P(LiveLogsTest, SilenceIsAnEmptyPieceAndAnEndWakes) {
  EXPECT_EQ(next(log_, 0).bytes, "");
  std::optional<Result<LiveLogs::Piece>> waiting;
  rig_.group.spawn(keep_value(logs_.next(log_, 0, 15s, {}), waiting));
  log_->end();
  rig_.loop.run_for(0s);
  ASSERT_TRUE(waiting);
  EXPECT_TRUE((*waiting)->over);
}

TEST_P(LiveLogsTest, WhatWasWrittenBeforeTheEndIsStillRead) {
  const auto follower = logs_.find(RunId("a"));
  log_->append("last words");
  log_->end();
  log_.reset();
  const auto piece = next(follower, 0);
  EXPECT_EQ(piece.bytes, "last words");
  EXPECT_TRUE(piece.over);
  EXPECT_EQ(logs_.find(RunId("a")), nullptr);
}

TEST_P(LiveLogsTest, ASlowFollowerFindsAGapOfKnownLength) {
  const auto follower = next(log_, 0);
  for (int i = 0; i < 100; ++i) log_->append(std::string(10'000, static_cast<char>('a' + i % 26)));
  auto piece = next(log_, follower.next);
  EXPECT_EQ(piece.next, 1'000'000U);
  EXPECT_EQ(piece.skipped + piece.bytes.size(), 1'000'000U);
  EXPECT_GE(piece.bytes.size(), LiveLog::kKeptBytes);
  EXPECT_LE(piece.bytes.size(), 2 * LiveLog::kKeptBytes);
  EXPECT_EQ(piece.bytes.back(), 'a' + 99 % 26);
  log_->append(std::string(10 * LiveLog::kKeptBytes, 'x'));
  piece = next(log_, piece.next);
  EXPECT_EQ(piece.bytes.size(), LiveLog::kKeptBytes);
  EXPECT_EQ(piece.skipped, 9 * LiveLog::kKeptBytes);
}

TEST_P(LiveLogsTest, NobodyIsFoundWhoseAttemptIsGone) {
  EXPECT_EQ(logs_.find(RunId("b")), nullptr);
  log_.reset();
  EXPECT_EQ(logs_.find(RunId("a")), nullptr);
}

TEST_P(LiveLogsTest, AFollowerThatLeavesStopsWaiting) {
  std::stop_source left;
  std::optional<Result<LiveLogs::Piece>> waiting;
  rig_.group.spawn(keep_value(logs_.next(log_, 0, 15s, left.get_token()), waiting));
  left.request_stop();
  rig_.loop.run_for(0s);
  ASSERT_TRUE(waiting);
  ASSERT_FALSE(*waiting);
  EXPECT_EQ(waiting->error().code, Errc::cancelled);
}

}  // namespace
}  // namespace millrace
