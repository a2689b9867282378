// Passes over all topics, while one of them is removed.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "engine/needed_runs.h"
#include "engine/user_topics.h"
#include "tests/support/engine_rig.h"
#include "tests/unit/engine/fickle_broker.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class GoneTopics : public testing::Test {
 protected:
  void topic(const std::string& name, const std::string& group, Lag lag = {}) {
    ASSERT_TRUE(rig_.wait(broker_.ensure({.name = name, .groups = {group}})));
    rig_.parts.broker.lags[name] = lag;
  }
  Result<NeededRuns> needed() { return rig_.wait(needed_runs(rig_.loop, broker_)); }
  std::vector<std::string> groups_of(const std::string& name) { return rig_.parts.broker.ensured.at(name).groups; }

  EngineRig rig_;
  FickleBroker broker_{rig_.loop, rig_.parts.broker};
};

TEST_F(GoneTopics, NeedNoRunsAndTheOthersAreLookedAt) {
  topic("a", "fn.f");
  topic("fn.f", "workers");
  topic("z", "fn.f", {.pending = 1, .oldest = 1h});
  broker_.gone = {"a", "fn.f"};
  const auto found = needed();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->open_topic, "z");
}

TEST_F(GoneTopics, AWorkTopicThatOnlyLostItsGroupIsNotOne) {
  topic("fn.f", "workers");
  broker_.without_group = {"fn.f"};
  const auto found = needed();
  ASSERT_FALSE(found) << "its messages come again when the group is made again";
  EXPECT_EQ(found.error().code, Errc::not_found);
}

TEST_F(GoneTopics, OrphansOnTheOthersAreDropped) {
  topic("a", "fn.removed");
  topic("z", "fn.removed");
  broker_.gone = {"a"};
  const UserTopics topics(broker_, 30s);
  const auto dropped = rig_.wait(topics.drop_orphans([this] { return rig_.parts.state.functions().all(); }));
  ASSERT_TRUE(dropped) << dropped.error().message;
  EXPECT_TRUE(groups_of("z").empty());
}

}  // namespace
}  // namespace millrace
