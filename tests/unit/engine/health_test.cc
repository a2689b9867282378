#include "engine/health.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "async/uv_event_loop.h"
#include "tests/support/engine_rig.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

class HealthTest : public testing::Test {
 protected:
  std::vector<Health::Trouble> look() {
    test::run_task(loop_, health_.look());
    return health_.troubles();
  }
  std::int64_t degraded() { return metrics_.gauge("millrace_degraded", "").value(); }

  test::TempDir directory_;
  UvEventLoop loop_;
  BlockingPool pool_{loop_, {.threads = 1}};
  Metrics metrics_;
  EngineFakes fakes_{loop_};
  Log log_{{.level = LogLevel::error}};
  std::vector<std::string> directories_{directory_.path()};
  Health health_{loop_, pool_, fakes_.broker, fakes_.state, {.directories = directories_}, log_, metrics_};
};

TEST_F(HealthTest, ANodeWithRoomAndABrokerIsReady) {
  EXPECT_TRUE(look().empty());
  EXPECT_EQ(degraded(), 0);
}

TEST_F(HealthTest, ABrokerThatTakesNothingIsTroubleUntilItDoes) {
  fakes_.broker.in_trouble = Error{.code = Errc::no_space, .message = "the log is full"};
  EXPECT_EQ(look(), (std::vector<Health::Trouble>{{.what = "broker", .reason = "the log is full"}}));
  EXPECT_EQ(degraded(), 1);
  fakes_.broker.in_trouble.reset();
  EXPECT_TRUE(look().empty());
  EXPECT_EQ(degraded(), 0);
}

TEST_F(HealthTest, ADirectoryThatCannotBeLookedAtIsTrouble) {
  Health health(loop_, pool_, fakes_.broker, fakes_.state, {.directories = {directory_ / "gone"}}, log_, metrics_);
  test::run_task(loop_, health.look());
  ASSERT_EQ(health.troubles().size(), 1U);
  EXPECT_EQ(health.troubles().front().what, "disk");
  EXPECT_NE(health.troubles().front().reason.find(directory_ / "gone"), std::string::npos);
}

}  // namespace
}  // namespace millrace
