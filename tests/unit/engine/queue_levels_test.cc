#include "engine/queue_levels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>

#include "tests/support/engine_rig.h"
#include "tests/unit/engine/fickle_broker.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

using testing::HasSubstr;
using testing::Not;

class QueueLevelsTest : public testing::Test {
 protected:
  FakeBroker& broker() { return rig_.parts.broker; }
  void topic(const std::string& name, const std::string& group, Lag lag) {
    ASSERT_TRUE(rig_.wait(broker().ensure({.name = name, .groups = {group}})));
    broker().lags[name] = lag;
  }
  std::string metrics() {
    (void)rig_.wait(levels_.refresh());
    return metrics_.render();
  }

  EngineRig rig_;
  FickleBroker fickle_{rig_.loop, rig_.parts.broker};
  Metrics metrics_;
  QueueLevels levels_{rig_.loop, fickle_, metrics_};
};

TEST_F(QueueLevelsTest, EachGroupOfEachTopicHasItsStatesAndItsAge) {
  topic(
      "fn.f", "workers",
      {.pending = 3, .in_flight = 2, .delayed = 1, .blocked = 4, .dead = 5, .oldest = std::chrono::milliseconds(1500)});
  topic("orders", "audit", {.pending = 7});
  const std::string text = metrics();
  const std::string work = R"({function="f",group="workers",)";
  EXPECT_THAT(text, HasSubstr("millrace_queue_messages" + work + R"(state="pending",topic="fn.f"} 3)"));
  EXPECT_THAT(text, HasSubstr("millrace_queue_messages" + work + R"(state="in_flight",topic="fn.f"} 2)"));
  EXPECT_THAT(text, HasSubstr("millrace_queue_messages" + work + R"(state="delayed",topic="fn.f"} 1)"));
  EXPECT_THAT(text, HasSubstr("millrace_queue_messages" + work + R"(state="blocked",topic="fn.f"} 4)"));
  EXPECT_THAT(text, HasSubstr("millrace_queue_messages" + work + R"(state="dead",topic="fn.f"} 5)"));
  EXPECT_THAT(text, HasSubstr("millrace_queue_oldest_seconds" + work + R"(topic="fn.f"} 1.5)"));
  EXPECT_THAT(text,
              HasSubstr(R"(millrace_queue_messages{function="",group="audit",state="pending",topic="orders"} 7)"));
  EXPECT_EQ(levels_.waiting_for("f"), 8U);
  EXPECT_EQ(levels_.waiting_for(""), 8U) << "of functions";
  EXPECT_EQ(levels_.waiting_for("other"), std::nullopt);
}

TEST_F(QueueLevelsTest, TheBrokerIsAskedOnceInAWhile) {
  topic("fn.f", "workers", {.pending = 1});
  EXPECT_THAT(metrics(), HasSubstr(R"(state="pending",topic="fn.f"} 1)"));
  broker().lags["fn.f"].pending = 2;
  EXPECT_THAT(metrics(), HasSubstr(R"(state="pending",topic="fn.f"} 1)"));
  rig_.loop.run_for(QueueLevels::kFresh);
  EXPECT_THAT(metrics(), HasSubstr(R"(state="pending",topic="fn.f"} 2)"));
}

TEST_F(QueueLevelsTest, ManyTopicsTakeTurns) {
  for (std::size_t i = 0; i < QueueLevels::kAskedMax + 1; ++i) {
    topic("fn.f" + std::to_string(10'000 + i), "workers", {.pending = 1});
  }
  ASSERT_TRUE(rig_.wait(levels_.refresh()));
  EXPECT_EQ(levels_.all().size(), QueueLevels::kAskedMax);
  rig_.loop.run_for(QueueLevels::kFresh);
  ASSERT_TRUE(rig_.wait(levels_.refresh()));
  EXPECT_EQ(levels_.all().size(), QueueLevels::kAskedMax + 1);
}

TEST_F(QueueLevelsTest, WhatIsGoneOrCannotBeAskedHasNoSeries) {
  topic("fn.f", "workers", {.pending = 1});
  topic("fn.g", "workers", {.pending = 1});
  EXPECT_THAT(metrics(), HasSubstr(R"(topic="fn.g")"));
  broker().ensured.erase("fn.g");
  rig_.loop.run_for(QueueLevels::kFresh);
  EXPECT_THAT(metrics(), Not(HasSubstr(R"(topic="fn.g")")));
  rig_.loop.run_for(QueueLevels::kFresh);
  broker().in_trouble = Error{.code = Errc::unavailable, .message = "away"};
  EXPECT_THAT(metrics(), Not(HasSubstr(R"(topic="fn.f")"))) << "an old number would look like a new one";
  broker().in_trouble.reset();
  EXPECT_THAT(metrics(), HasSubstr(R"(topic="fn.f")")) << "at once: the trouble was not asked";
}

TEST_F(QueueLevelsTest, ABrokerThatDoesNotAnswerIsWaitedForOnlyAWhileAndAskedOnceByAll) {
  topic("fn.f", "workers", {.pending = 1});
  EXPECT_THAT(metrics(), HasSubstr(R"(topic="fn.f")"));
  fickle_.takes["fn.f"] = 15s;
  rig_.loop.run_for(QueueLevels::kFresh);
  std::optional<Result<void>> one;
  std::optional<Result<void>> other;
  rig_.group.spawn(keep_value(levels_.refresh(), one));
  rig_.group.spawn(keep_value(levels_.refresh(), other));
  rig_.loop.run_for(QueueLevels::kPatience);
  ASSERT_TRUE(one && other);
  EXPECT_EQ(one->error().code, Errc::deadline_exceeded);
  EXPECT_EQ(other->error().code, Errc::deadline_exceeded);
  EXPECT_THAT(metrics_.render(), HasSubstr(R"(topic="fn.f")")) << "what was told before";
  EXPECT_EQ(levels_.waiting_for("f"), 1U);
  EXPECT_EQ(fickle_.asked, 2) << "before, and now once";
  rig_.loop.run_for(15s);
  EXPECT_THAT(metrics_.render(), Not(HasSubstr(R"(topic="fn.f")"))) << "it failed, in the background";
}

TEST_F(QueueLevelsTest, WhoeverWaitsWhileTheBrokerIsAskedGetsItsAnswer) {
  topic("fn.f", "workers", {.pending = 1});
  fickle_.takes["fn.f"] = 500ms;
  std::optional<Result<void>> one;
  std::optional<Result<void>> other;
  rig_.group.spawn(keep_value(levels_.refresh(), one));
  rig_.group.spawn(keep_value(levels_.refresh(), other));
  rig_.loop.run_for(500ms);
  ASSERT_TRUE(one && other);
  EXPECT_EQ(one->error().code, Errc::unavailable);
  EXPECT_EQ(other->error().code, Errc::unavailable);
}

TEST_F(QueueLevelsTest, AFailureIsRememberedAsLongAsAnAnswer) {
  topic("fn.f", "workers", {.pending = 1});
  broker().failing_lags = 1;
  EXPECT_FALSE(rig_.wait(levels_.refresh()));
  EXPECT_FALSE(rig_.wait(levels_.refresh()));
  EXPECT_EQ(fickle_.asked, 1);
  rig_.loop.run_for(QueueLevels::kFresh);
  EXPECT_TRUE(rig_.wait(levels_.refresh()));
}

TEST_F(QueueLevelsTest, QuestionsThatAreUnderWayEndWithIt) {
  topic("fn.f", "workers", {.pending = 1});
  fickle_.takes["fn.f"] = 15s;
  {
    QueueLevels levels(rig_.loop, fickle_, metrics_);
    EXPECT_FALSE(rig_.wait(levels.refresh()));
  }
  rig_.loop.run_for(15s);
  EXPECT_EQ(fickle_.asked, 1);
}

}  // namespace
}  // namespace millrace
