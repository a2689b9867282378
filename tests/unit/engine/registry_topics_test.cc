#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/function_observer.h"
#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class RegistryTopicsTest : public testing::Test {
 protected:
  static FunctionSpec reader(const std::string& name, const std::vector<std::string>& topics) {
    FunctionSpec spec = EngineParts::function(name);
    for (const auto& topic : topics) spec.topics.push_back({.topic = topic, .from_start = true});
    return spec;
  }
  void apply(const FunctionSpec& spec) {
    const auto applied = rig_.wait(registry_.apply({spec}));
    ASSERT_TRUE(applied) << applied.error().message;
  }
  Result<void> remove(const std::string& topic) { return rig_.wait(registry_.remove_topic(topic)); }
  void expect_refused(const std::string& topic, const testing::Matcher<std::string>& why) {
    const auto refused = remove(topic);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::failed_precondition);
    EXPECT_THAT(refused.error().message, why);
    EXPECT_TRUE(rig_.parts.broker.ensured.contains(topic));
  }

  EngineRig rig_;
  Registry& registry_ = rig_.parts.registry;
};

TEST_F(RegistryTopicsTest, OneThatFunctionsReadIsRefusedAndTheyAreNamed) {
  apply(reader("a", {"orders"}));
  apply(reader("b", {"returns", "orders"}));
  expect_refused("orders", AllOf(HasSubstr("'a'"), HasSubstr("'b'")));
  expect_refused("returns", AllOf(HasSubstr("'b'"), testing::Not(HasSubstr("'a'"))));
  apply(reader("a", {}));
  apply(reader("b", {"returns"}));
  EXPECT_TRUE(remove("orders"));
  EXPECT_FALSE(rig_.parts.broker.ensured.contains("orders"));
  EXPECT_EQ(remove("orders").error().code, Errc::not_found);
}

TEST_F(RegistryTopicsTest, AFunctionsOwnOneGoesOnlyAfterTheFunction) {
  apply(reader("a", {}));
  expect_refused("fn.a", HasSubstr("function 'a'"));
  ASSERT_TRUE(rig_.wait(registry_.remove("a")));
  EXPECT_TRUE(remove("fn.a"));
}

TEST_F(RegistryTopicsTest, OneThatAFunctionPublishesOnCanGo) {
  FunctionSpec spec = reader("a", {});
  spec.topic_outputs.push_back({.topic = "shouted", .prefix = {}, .suffix = {}});
  apply(spec);
  EXPECT_TRUE(remove("shouted"));
}

TEST_F(RegistryTopicsTest, WhatAnotherNodeAppliedIsKnownBeforeAnythingGoes) {
  ASSERT_TRUE(rig_.wait(registry_.refresh()));
  ASSERT_TRUE(rig_.wait(rig_.parts.broker.ensure({.name = "orders", .groups = {}})));
  FunctionSpec spec = reader("elsewhere", {"orders"});
  spec.uid = FunctionUid("01HZZZZZZZZZZZZZZZZZZZZZZZ");
  spec.revision = 1;
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(spec)));
  expect_refused("orders", HasSubstr("'elsewhere'"));
}

// `a` reads no more `orders`, and that it is not ready yet keeps its group there.
class NotReadyReader : public RegistryTopicsTest {
 protected:
  NotReadyReader() {
    registry_.observe(observer_);
    apply(reader("a", {"orders", "returns"}));
    observer_.ready = false;
    EXPECT_FALSE(rig_.wait(registry_.apply({reader("a", {"returns"})})));
    EXPECT_EQ(readers_of("orders"), std::vector<std::string>{"fn.a"}) << "its workers may still read there";
    observer_.ready = true;
  }
  std::vector<std::string> readers_of(const std::string& topic) { return rig_.parts.broker.ensured.at(topic).groups; }
  void expect_left() {
    EXPECT_TRUE(readers_of("orders").empty());
    EXPECT_EQ(readers_of("returns"), std::vector<std::string>{"fn.a"});
  }

  class Observer final : public FunctionObserver {
   public:
    bool ready = true;
    Task<Result<void>> function_applied(std::shared_ptr<const FunctionSpec>) override {
      if (!ready) co_return fail(Errc::unavailable, "not now");
      co_return Result<void>{};
    }
    Task<void> function_removed(std::shared_ptr<const FunctionSpec>) override { co_return; }
    Task<Result<void>> drain(std::stop_token) override { co_return Result<void>{}; }
  };
  Observer observer_;
};

TEST_F(NotReadyReader, LeavesItsOldTopicsWhenItIsReady) {
  std::stop_source stop;
  rig_.group.spawn(registry_.prepare_the_rest(stop.get_token()));
  rig_.loop.run_for(std::chrono::seconds(5));
  expect_left();
  stop.request_stop();
  rig_.loop.run_for(std::chrono::seconds(0));
}

TEST_F(NotReadyReader, LeavesThemWhenTheSameIsAppliedAgain) {
  apply(reader("a", {"returns"}));
  expect_left();
}

TEST_F(NotReadyReader, LeavesThemWhenItIsTakenOverFromTheStore) {
  ASSERT_TRUE(rig_.wait(registry_.refresh()));
  expect_left();
}

TEST_F(NotReadyReader, StaysWhereARevisionReadsAgain) {
  apply(reader("a", {"orders"}));
  EXPECT_EQ(readers_of("orders"), std::vector<std::string>{"fn.a"});
  EXPECT_TRUE(readers_of("returns").empty());
}

TEST_F(NotReadyReader, LeavesAllWhenItIsRemoved) {
  ASSERT_TRUE(rig_.wait(registry_.remove("a")));
  EXPECT_TRUE(readers_of("orders").empty());
  EXPECT_TRUE(readers_of("returns").empty());
}

TEST_F(NotReadyReader, LeavesItsOldTopicsWhenAnotherNodeRemovesIt) {
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().remove("a")));
  ASSERT_TRUE(rig_.wait(registry_.refresh()));
  EXPECT_TRUE(readers_of("orders").empty());
}

}  // namespace
}  // namespace millrace
