// Functions that cannot be served when the node starts.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/registry.h"
#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

class ChoosyObserver final : public FunctionObserver {
 public:
  std::optional<Error> refuses;
  std::vector<std::string> told;

  Task<Result<void>> function_applied(std::shared_ptr<const FunctionSpec> now) override {
    told.push_back(now->name);
    if (refuses) co_return fail(*refuses);
    co_return Result<void>{};
  }
  Task<void> function_removed(std::shared_ptr<const FunctionSpec>) override { co_return; }
  Task<Result<void>> drain(std::stop_token) override { co_return Result<void>{}; }
};

class RegistryStart : public testing::Test {
 protected:
  RegistryStart() { rig_.parts.registry.observe(observer_); }

  EngineRig rig_;
  ChoosyObserver observer_;
};

TEST_F(RegistryStart, WhatIsNotReadyAtStartIsTriedAgainWithPausesThatGrowUntilItIs) {
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(EngineParts::function("one"))));
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(EngineParts::function("two"))));
  observer_.refuses = Error{.code = Errc::unavailable, .message = "no subscription now"};
  ASSERT_TRUE(rig_.wait(rig_.parts.registry.load()));
  observer_.told.clear();
  std::stop_source stop;
  rig_.group.spawn(rig_.parts.registry.prepare_the_rest(stop.get_token()));
  rig_.loop.run_for(std::chrono::seconds(1 + 2 + 4));
  EXPECT_EQ(observer_.told.size(), 6U) << "both, after one second, two and four";
  ASSERT_TRUE(rig_.wait(rig_.parts.registry.remove("two")));
  observer_.told.clear();
  observer_.refuses.reset();
  rig_.loop.run_for(std::chrono::hours(1));
  EXPECT_EQ(observer_.told, std::vector<std::string>{"one"});
  stop.request_stop();
  rig_.loop.run_for(std::chrono::seconds(0));
}

TEST_F(RegistryStart, WhatIsAppliedAnewIsNotTriedAgain) {
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(EngineParts::function("one"))));
  rig_.parts.broker.ensure_error = Error{.code = Errc::unavailable, .message = "away"};
  ASSERT_TRUE(rig_.wait(rig_.parts.registry.load()));
  rig_.parts.broker.ensure_error.reset();
  std::stop_source stop;
  rig_.group.spawn(rig_.parts.registry.prepare_the_rest(stop.get_token()));
  rig_.apply(EngineParts::function("one"));
  observer_.told.clear();
  rig_.loop.run_for(std::chrono::hours(1));
  EXPECT_TRUE(observer_.told.empty());
  stop.request_stop();
  rig_.loop.run_for(std::chrono::seconds(0));
}

TEST_F(RegistryStart, WhatWasAppliedAndIsNotReadyIsTriedAgainToo) {
  std::stop_source stop;
  rig_.group.spawn(rig_.parts.registry.prepare_the_rest(stop.get_token()));
  rig_.loop.run_for(std::chrono::hours(1));
  observer_.refuses = Error{.code = Errc::unavailable, .message = "no subscription now"};
  EXPECT_THROW(rig_.apply(EngineParts::function("one")), std::runtime_error);
  EXPECT_EQ(rig_.parts.registry.unready("one")->message, "no subscription now");
  observer_.told.clear();
  observer_.refuses.reset();
  rig_.loop.run_for(std::chrono::seconds(2));
  EXPECT_EQ(observer_.told, std::vector<std::string>{"one"});
  EXPECT_FALSE(rig_.parts.registry.unready("one"));
  stop.request_stop();
  rig_.loop.run_for(std::chrono::seconds(0));
}

TEST_F(RegistryStart, ProducersAreToldOfInputsAlsoWhileTheRestIsNotReady) {
  ChoosyObserver producer;
  rig_.parts.registry.observe_inputs(producer);
  observer_.refuses = Error{.code = Errc::unavailable, .message = "no subscription now"};
  EXPECT_THROW(rig_.apply(EngineParts::function("one", "in", "out")), std::runtime_error);
  EXPECT_EQ(producer.told, std::vector<std::string>{"one"});
}

TEST_F(RegistryStart, AFunctionIsStoredOnlyWithItsWorkTopic) {
  rig_.parts.broker.ensure_error = Error{.code = Errc::no_space, .message = "the log is full"};
  EXPECT_THROW(rig_.apply(EngineParts::function("one")), std::runtime_error);
  const auto stored = rig_.wait(rig_.parts.state.functions().all());
  EXPECT_TRUE(stored && stored->empty()) << "at the next start its topic would look lost";
}

TEST_F(RegistryStart, TryingAgainEndsWithTheStop) {
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(EngineParts::function("one"))));
  observer_.refuses = Error{.code = Errc::unavailable, .message = "away"};
  ASSERT_TRUE(rig_.wait(rig_.parts.registry.load()));
  std::stop_source stop;
  rig_.group.spawn(rig_.parts.registry.prepare_the_rest(stop.get_token()));
  rig_.loop.run_for(std::chrono::hours(1));
  EXPECT_EQ(rig_.group.size(), 1U);
  stop.request_stop();
  rig_.loop.run_for(std::chrono::seconds(0));
  EXPECT_EQ(rig_.group.size(), 0U);
}

}  // namespace
}  // namespace millrace
