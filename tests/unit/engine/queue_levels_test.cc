#include "engine/queue_levels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

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
  Metrics metrics_;
  QueueLevels levels_{rig_.loop, rig_.parts.broker, metrics_};
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

}  // namespace
}  // namespace millrace
