#include "engine/registry.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/nodes.h"
#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

// Says what the test wants and remembers what it was told.
class TellingExecutor final : public Executor {
 public:
  std::optional<Error> refuses;
  std::vector<std::string> warns;
  std::vector<std::string> forgotten;  // "uid/revision"

  std::vector<Control> controls() const override { return {}; }
  Task<Result<std::vector<std::string>>> check(std::shared_ptr<const FunctionSpec>) override {
    if (refuses) co_return fail(*refuses);
    co_return warns;
  }
  Task<Result<Execution>> run(ExecutionRequest, std::stop_token) override {
    co_return fail(Errc::unimplemented, "runs nothing");
  }
  void forget(const FunctionUid& function, std::uint64_t revision) override {
    forgotten.push_back(function.str() + "/" + std::to_string(revision));
  }
};

class TellingObserver final : public FunctionObserver {
 public:
  TellingObserver(std::string name, std::vector<std::string>& log) : name_(std::move(name)), log_(log) {}

  std::optional<Error> refuses;

  Task<Result<void>> function_applied(std::shared_ptr<const FunctionSpec> now) override {
    log_.push_back(name_ + " applied " + now->name + "/" + std::to_string(now->revision));
    if (refuses) co_return fail(*refuses);
    co_return Result<void>{};
  }
  Task<void> function_removed(std::shared_ptr<const FunctionSpec> gone) override {
    log_.push_back(name_ + " removed " + gone->name);
    co_return;
  }
  Task<Result<void>> drain(std::stop_token) override {
    log_.push_back(name_ + " drained");
    if (refuses) co_return fail(*refuses);
    co_return Result<void>{};
  }

 private:
  std::string name_;
  std::vector<std::string>& log_;
};

class RegistryTest : public testing::Test {
 protected:
  RegistryTest() {
    rig_.parts.executors.add(ExecutorKind::container, executor_);
    registry_.observe(first_);
    registry_.observe(second_);
  }

  Result<std::vector<Applied>> apply(std::vector<FunctionSpec> specs) {
    return rig_.wait(registry_.apply(std::move(specs)));
  }
  static FunctionSpec function(const std::string& name, const std::string& from = {}, const std::string& to = {}) {
    return EngineParts::function(name, from, to);
  }
  static ObjectRef object(const std::string& bucket, const std::string& key) {
    return {.bucket = bucket, .key = key, .version = {}, .private_path = {}};
  }
  std::vector<std::string> matching(const std::string& bucket, const std::string& key) {
    std::vector<std::string> names;
    for (const auto& match : registry_.match(object(bucket, key))) names.push_back(match.function->name);
    return names;
  }
  std::vector<FunctionSpec> stored() { return *rig_.wait(rig_.parts.state.functions().all()); }

  using Names = std::vector<std::string>;

  EngineRig rig_;
  TellingExecutor executor_;
  std::vector<std::string> told_;
  TellingObserver first_{"first", told_};
  TellingObserver second_{"second", told_};
  Registry& registry_ = rig_.parts.registry;
};

TEST_F(RegistryTest, ANewFunctionIsStoredPreparedAndTold) {
  const auto applied = apply({function("copy", "in", "out/deep")});
  ASSERT_TRUE(applied) << applied.error().message;
  ASSERT_EQ(applied->size(), 1U);
  EXPECT_TRUE(applied->front().created);
  EXPECT_TRUE(applied->front().changed);
  EXPECT_EQ(applied->front().function->revision, 1U);
  EXPECT_TRUE(is_ulid(applied->front().function->uid.str()));
  EXPECT_EQ(registry_.find("copy"), applied->front().function);

  ASSERT_EQ(stored().size(), 1U);
  EXPECT_EQ(stored()[0], *applied->front().function);
  EXPECT_EQ(rig_.parts.storage.calls(StorageCall::ensure_bucket), 2);
  ASSERT_TRUE(rig_.parts.broker.ensured.contains("fn.copy"));
  EXPECT_EQ(rig_.parts.broker.ensured["fn.copy"].groups, (Names{"workers"}));
  EXPECT_EQ(rig_.parts.broker.ensured["fn.copy"].lease, std::chrono::seconds(30));
  EXPECT_EQ(told_, (Names{"first applied copy/1", "second applied copy/1"}));
}

TEST_F(RegistryTest, AnUpdateKeepsTheUidRaisesTheRevisionAndForgetsTheOldOne) {
  const auto before = apply({function("copy", "in")})->front().function;
  auto changed = function("copy", "in");
  changed.retries = 7;
  const auto applied = apply({changed});
  ASSERT_TRUE(applied);
  EXPECT_FALSE(applied->front().created);
  EXPECT_TRUE(applied->front().changed);
  EXPECT_EQ(applied->front().function->uid, before->uid);
  EXPECT_EQ(applied->front().function->revision, 2U);
  EXPECT_EQ(before->revision, 1U) << "whoever holds the old one keeps it";
  EXPECT_NE(before->retries, 7U);
  EXPECT_EQ(executor_.forgotten, (Names{before->uid.str() + "/1"}));
  EXPECT_EQ(registry_.match(object("in", "a")).at(0).function->revision, 2U);
}

TEST_F(RegistryTest, TheVerySameSpecIsNoNewRevision) {
  const auto before = apply({function("copy", "in")})->front().function;
  const auto applied = apply({function("copy", "in")});
  ASSERT_TRUE(applied);
  EXPECT_FALSE(applied->front().created);
  EXPECT_FALSE(applied->front().changed);
  EXPECT_EQ(applied->front().function, before);
  EXPECT_EQ(rig_.parts.state.calls(StateCall::put_function), 1);
  EXPECT_TRUE(executor_.forgotten.empty());
}

TEST_F(RegistryTest, WhatACallerSaysOfUidAndRevisionIsIgnored) {
  auto spec = function("copy");
  spec.uid = FunctionUid("mine");
  spec.revision = 99;
  const auto applied = apply({spec});
  ASSERT_TRUE(applied);
  EXPECT_NE(applied->front().function->uid.str(), "mine");
  EXPECT_EQ(applied->front().function->revision, 1U);
}

TEST_F(RegistryTest, AfterRemoveTheNameStartsAnewWithAnotherUid) {
  const auto before = apply({function("copy", "in")})->front().function;
  told_.clear();
  ASSERT_TRUE(rig_.wait(registry_.remove("copy")));
  EXPECT_EQ(registry_.find("copy"), nullptr);
  EXPECT_TRUE(matching("in", "a").empty());
  EXPECT_TRUE(stored().empty());
  EXPECT_EQ(told_, (Names{"first removed copy", "second removed copy"}));
  EXPECT_EQ(executor_.forgotten, (Names{before->uid.str() + "/1"}));

  const auto again = apply({function("copy", "in")});
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->front().created);
  EXPECT_EQ(again->front().function->revision, 1U);
  EXPECT_NE(again->front().function->uid, before->uid);
}

TEST_F(RegistryTest, RemovingWhatIsNotThereSaysSo) {
  const auto removed = rig_.wait(registry_.remove("copy"));
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Errc::not_found);
  EXPECT_NE(removed.error().message.find("'copy'"), std::string::npos);
}

TEST_F(RegistryTest, AFunctionThatCannotBeUnstoredStays) {
  (void)apply({function("copy", "in")});
  rig_.parts.state.fail_next(StateCall::remove_function, {.code = Errc::unavailable, .message = "locked"});
  told_.clear();
  const auto removed = rig_.wait(registry_.remove("copy"));
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Errc::unavailable);
  EXPECT_NE(registry_.find("copy"), nullptr);
  EXPECT_EQ(matching("in", "a"), (Names{"copy"}));
  EXPECT_TRUE(told_.empty());
}

TEST_F(RegistryTest, AFunctionThatCannotBeStoredIsNotApplied) {
  rig_.parts.state.fail_next(StateCall::put_function, {.code = Errc::no_space, .message = "disk full"});
  const auto applied = apply({function("copy", "in")});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::no_space);
  EXPECT_EQ(applied.error().message, "function 'copy': store it: disk full");
  EXPECT_EQ(registry_.find("copy"), nullptr);
  EXPECT_TRUE(told_.empty());
}

TEST_F(RegistryTest, WhatIsStoredButNotReadyStaysAppliedAndSaysWhy) {
  second_.refuses = Error{.code = Errc::resource_exhausted, .message = "no watch left"};
  const auto applied = apply({function("copy", "in")});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::resource_exhausted);
  EXPECT_EQ(applied.error().message, "function 'copy': stored but not ready: no watch left");
  EXPECT_EQ(matching("in", "a"), (Names{"copy"}));

  second_.refuses.reset();
  told_.clear();
  ASSERT_TRUE(apply({function("copy", "in")})) << "applying it again is how a user tries again";
  EXPECT_EQ(told_, (Names{"first applied copy/1", "second applied copy/1"}));
}

TEST_F(RegistryTest, ABucketOrTopicThatCannotBeMadeIsTheAnswer) {
  rig_.parts.storage.fail_next(StorageCall::ensure_bucket, 1, {.code = Errc::invalid_argument, .message = "bad name"});
  auto applied = apply({function("copy", "in")});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::invalid_argument);
  EXPECT_EQ(std::exchange(told_, {}).size(), 2U) << "it can be called";
  rig_.parts.broker.ensure_error = Error{.code = Errc::unavailable, .message = "closed"};
  applied = apply({function("copy", "in")});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::unavailable);
  EXPECT_TRUE(told_.empty());
}

TEST_F(RegistryTest, OrderIsRefusedWhereTheBrokerCannotKeepIt) {
  auto spec = EngineParts::function("f", "in");
  spec.ordered_by_key = true;
  rig_.parts.broker.able.ordered_keys = false;
  const auto refused = rig_.wait(rig_.parts.registry.apply({spec}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::failed_precondition);
  EXPECT_NE(refused.error().message.find("order: key"), std::string::npos) << refused.error().message;
  rig_.parts.broker.able.ordered_keys = true;
  EXPECT_TRUE(rig_.wait(rig_.parts.registry.apply({spec})));
}

TEST_F(RegistryTest, AnExecutorThisNodeDoesNotHaveIsRefused) {
  auto spec = function("copy");
  spec.executor = ExecutorKind::process;
  const auto applied = apply({spec});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::failed_precondition);
  EXPECT_NE(applied.error().message.find("function 'copy'"), std::string::npos);
  EXPECT_NE(applied.error().message.find("'process'"), std::string::npos);
}

TEST_F(RegistryTest, WhatTheExecutorCannotHonourIsRefusedBeforeAnythingIsStored) {
  executor_.refuses = Error{.code = Errc::failed_precondition, .message = "limits.cpu: no quota here"};
  const auto applied = apply({function("a"), function("b")});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().message, "function 'a': limits.cpu: no quota here");
  EXPECT_TRUE(stored().empty());
  EXPECT_TRUE(registry_.all().empty());
}

TEST_F(RegistryTest, WhatNoNodeHasIsRefusedBeforeAnythingIsStored) {
  NodeRow me;
  me.name = "node-1";
  me.roles = "worker";
  Nodes nodes(
      rig_.loop, nullptr, me,
      [](NodeRow& row) {
        row.memory_bytes = 1 << 30;
        row.cpu_millicores = 2000;
      },
      {}, rig_.parts.log);
  registry_.heed(nodes);
  auto large = function("large");
  large.cpu_millicores = 2001;
  const auto applied = apply({function("a"), large});
  ASSERT_FALSE(applied);
  EXPECT_TRUE(applied.error().message.starts_with("function 'large': cpu: 2001m is more")) << applied.error().message;
  EXPECT_TRUE(stored().empty());
  large.cpu_millicores = 2000;
  EXPECT_TRUE(apply({large}));
}

TEST_F(RegistryTest, OutputsThatNoRunCanPlaceTogetherAreRefused) {
  auto spec = function("f", "in", "out");
  spec.outputs.push_back({.storage = {.provider = "local", .path = "mounted"}, .prefix = {}, .suffix = {}});
  rig_.parts.storage.fail_next(StorageCall::check_buckets, 1,
                               {.code = Errc::failed_precondition, .message = "two file systems"});
  const auto applied = apply({spec});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().message, "function 'f': two file systems");
  EXPECT_TRUE(stored().empty());
}

TEST_F(RegistryTest, WarningsCanBeAskedForAgainAndTellWhatTheHostHasLost) {
  const auto spec = apply({function("a")})->front().function;
  EXPECT_TRUE(rig_.wait(registry_.warnings(spec)).empty());
  executor_.warns = {"memory: not enforced"};
  EXPECT_EQ(rig_.wait(registry_.warnings(spec)), (Names{"memory: not enforced"}));
  executor_.refuses = Error{.code = Errc::failed_precondition, .message = "no quota here"};
  EXPECT_EQ(rig_.wait(registry_.warnings(spec)), (Names{"no quota here"}));
  auto other = *spec;
  other.executor = ExecutorKind::process;
  EXPECT_EQ(rig_.wait(registry_.warnings(std::make_shared<const FunctionSpec>(other))).size(), 1U);
}

TEST_F(RegistryTest, WarningsComeBackWithTheFunction) {
  executor_.warns = {"memory: not enforced"};
  const auto applied = apply({function("a")});
  ASSERT_TRUE(applied);
  EXPECT_EQ(applied->front().warnings, (Names{"memory: not enforced"}));
}

TEST_F(RegistryTest, CheckFindsTheSameProblemsAndChangesNothing) {
  executor_.warns = {"memory: not enforced"};
  const auto checked = rig_.wait(registry_.check({function("a", "in", "out")}));
  ASSERT_TRUE(checked);
  EXPECT_TRUE(checked->front().created);
  EXPECT_FALSE(checked->front().changed);
  EXPECT_EQ(checked->front().warnings.size(), 1U);
  EXPECT_EQ(registry_.find("a"), nullptr);
  EXPECT_TRUE(stored().empty());
  EXPECT_TRUE(told_.empty());
  EXPECT_TRUE(rig_.parts.broker.ensured.empty());

  (void)apply({function("a", "in", "out")});
  const auto again = rig_.wait(registry_.check({function("a", "in", "out")}));
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->front().created);
  EXPECT_FALSE(rig_.wait(registry_.check({function("b", "x", "x")})));
}

TEST_F(RegistryTest, AFunctionThatFeedsItselfIsRefusedWithTheCircleShown) {
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"in", "in"}, {"in", "in/sub"}, {"in/sub", "in/sub"}, {"in/sub", "in/sub/deeper"}}) {
    const auto applied = apply({function("loop", from, to)});
    ASSERT_FALSE(applied) << from << " " << to;
    EXPECT_EQ(applied.error().code, Errc::invalid_argument);
    EXPECT_NE(applied.error().message.find("loop: " + to + " -> loop"), std::string::npos) << applied.error().message;
  }
  EXPECT_TRUE(apply({function("beside", "in/sub", "in/subway")})) << "a name that only starts the same is another";
  EXPECT_TRUE(apply({function("above", "up/sub", "up")})) << "above the input is not beneath it";
}

TEST_F(RegistryTest, ACircleThroughFunctionsThatAreThereAlreadyIsRefusedWithTheCircleShown) {
  ASSERT_TRUE(apply({function("a", "one", "two")}));
  ASSERT_TRUE(apply({function("b", "two", "three/deep")}));
  const auto applied = apply({function("c", "three", "one/back")});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::invalid_argument);
  EXPECT_NE(applied.error().message.find("c: one/back -> a -> two -> b -> three/deep -> c"), std::string::npos)
      << applied.error().message;
  EXPECT_EQ(registry_.find("c"), nullptr);
  EXPECT_EQ(registry_.all().size(), 2U);
}

TEST_F(RegistryTest, AnUpdateIsCheckedInPlaceOfTheOldRevision) {
  ASSERT_TRUE(apply({function("a", "one", "two")}));
  // With the old `a` this would be a circle.
  EXPECT_TRUE(apply({function("a", "one", "three"), function("b", "two", "one")}));
  EXPECT_FALSE(apply({function("a", "one", "two")}));
  EXPECT_EQ(registry_.find("a")->revision, 2U);
}

TEST_F(RegistryTest, RecursionOnPurposeIsAccepted) {
  auto spec = function("loop", "in", "in/sub");
  spec.recursion_depth_max = 3;
  EXPECT_TRUE(apply({spec}));
}

TEST_F(RegistryTest, ObjectsMatchByBucketAndFolder) {
  ASSERT_TRUE(apply({function("whole", "in"), function("folder", "in/pics"), function("other", "else")}));
  EXPECT_EQ(matching("in", "a.jpg"), (Names{"whole"}));
  EXPECT_EQ(matching("in", "pics/a.jpg"), (Names{"folder", "whole"}));
  EXPECT_EQ(matching("in", "pics/deep/a.jpg"), (Names{"folder", "whole"}));
  EXPECT_EQ(matching("in", "pics2/a.jpg"), (Names{"whole"}));
  EXPECT_EQ(matching("in", "pics"), (Names{"whole"}));
  EXPECT_EQ(matching("else", "pics/a.jpg"), (Names{"other"}));
  EXPECT_TRUE(matching("no-such-bucket", "a").empty());
  EXPECT_TRUE(matching("", "a").empty());
}

TEST_F(RegistryTest, AFunctionMatchesOnceHoweverManyOfItsInputsDo) {
  auto spec = function("both", "in");
  spec.inputs.push_back({.storage = {.provider = "local", .path = "in/sub"}});
  ASSERT_TRUE(apply({spec}));
  EXPECT_EQ(matching("in", "sub/a"), (Names{"both"}));
}

TEST_F(RegistryTest, IgnoredNamesMatchNothing) {
  ASSERT_TRUE(apply({function("f", "in")}));
  for (const char* key : {".hidden", "sub/.hidden", "a.part", "sub/a.tmp", "a~"}) {
    EXPECT_TRUE(matching("in", key).empty()) << key;
  }
  for (const char* key : {"a", ".git/a", "a.part/b", "part", "a.tmpx", "~a"}) {
    EXPECT_EQ(matching("in", key), (Names{"f"})) << key;
  }
}

TEST_F(RegistryTest, AListOfItsOwnTakesThePlaceOfTheUsualNames) {
  auto spec = function("f", "in");
  spec.ignore = {"*.bak"};
  ASSERT_TRUE(apply({spec}));
  for (const char* key : {"a.bak", ".a.bak", "sub/.bak"}) EXPECT_TRUE(matching("in", key).empty()) << key;
  for (const char* key : {".hidden", "a.part", "a.tmp", "a~"}) EXPECT_EQ(matching("in", key), (Names{"f"})) << key;
}

TEST_F(RegistryTest, AFunctionMayIgnoreNothing) {
  auto spec = function("f", "in");
  spec.ignore.clear();
  ASSERT_TRUE(apply({spec}));
  EXPECT_EQ(matching("in", ".hidden"), (Names{"f"}));
}

TEST_F(RegistryTest, ATriggersIdSurvivesUpdatesThatKeepThePathAndNotARemoval) {
  const auto before = apply({function("f", "in")})->front().function;
  auto changed = function("f", "in");
  changed.timeout = std::chrono::seconds(1);
  const auto after = apply({changed})->front().function;
  EXPECT_EQ(triggers_of(before).at(0).id, triggers_of(after).at(0).id);

  auto moved = function("f", "in/sub");
  const auto elsewhere = apply({moved})->front().function;
  EXPECT_NE(triggers_of(before).at(0).id, triggers_of(elsewhere).at(0).id);

  ASSERT_TRUE(rig_.wait(registry_.remove("f")));
  const auto anew = apply({function("f", "in")})->front().function;
  EXPECT_NE(triggers_of(before).at(0).id, triggers_of(anew).at(0).id);
}

TEST_F(RegistryTest, LoadBringsBackWhatIsStoredAndTellsTheObservers) {
  auto spec = function("copy", "in");
  spec.uid = FunctionUid("uid-1");
  spec.revision = 5;
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(spec)));
  ASSERT_TRUE(rig_.wait(registry_.load()));
  ASSERT_NE(registry_.find("copy"), nullptr);
  EXPECT_EQ(*registry_.find("copy"), spec);
  EXPECT_EQ(matching("in", "a"), (Names{"copy"}));
  EXPECT_EQ(told_, (Names{"first applied copy/5", "second applied copy/5"}));
}

TEST_F(RegistryTest, OneFunctionThatIsNotReadyDoesNotKeepTheOthersFromStarting) {
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(function("a", "in-a"))));
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(function("b", "in-b"))));
  rig_.parts.storage.fail_next(StorageCall::ensure_bucket, 1, {.code = Errc::permission_denied, .message = "in-a"});
  ASSERT_TRUE(rig_.wait(registry_.load()));
  EXPECT_EQ(told_, (Names{"first applied a/0", "second applied a/0", "first applied b/0", "second applied b/0"}));
  EXPECT_EQ(registry_.all().size(), 2U);
}

TEST_F(RegistryTest, WithoutTheStoredFunctionsThereIsNoStart) {
  rig_.parts.state.fail_next(StateCall::all_functions, {.code = Errc::data_loss, .message = "state.db is corrupt"});
  const auto loaded = rig_.wait(registry_.load());
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Errc::data_loss);
  EXPECT_NE(loaded.error().message.find("state.db"), std::string::npos);
}

TEST_F(RegistryTest, ManyAreAppliedInTheOrderGivenAndListedByName) {
  const auto applied = apply({function("b"), function("c"), function("a")});
  ASSERT_TRUE(applied);
  Names order;
  for (const auto& one : *applied) order.push_back(one.function->name);
  EXPECT_EQ(order, (Names{"b", "c", "a"}));
  Names listed;
  for (const auto& one : registry_.all()) listed.push_back(one->name);
  EXPECT_EQ(listed, (Names{"a", "b", "c"}));
}

TEST_F(RegistryTest, ChangesOfOneNameAtATimeLoseNothing) {
  TaskGroup group(rig_.loop);
  std::vector<std::optional<Result<std::vector<Applied>>>> answers(8);
  for (std::uint32_t i = 0; i < answers.size(); ++i) {
    auto spec = function("f");
    spec.retries = 10 + i;
    std::vector<FunctionSpec> specs;
    specs.push_back(std::move(spec));
    group.spawn(keep_value(registry_.apply(std::move(specs)), answers[i]));
  }
  ASSERT_TRUE(rig_.loop.run_until_idle());
  std::vector<bool> revisions(answers.size());
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer && *answer);
    const auto revision = answer->value().front().function->revision;
    ASSERT_GE(revision, 1U);
    ASSERT_LE(revision, answers.size());
    EXPECT_FALSE(revisions[revision - 1]) << "revision " << revision << " was given twice";
    revisions[revision - 1] = true;
  }
}

TEST_F(RegistryTest, DrainAsksEveryObserverAndStopsAtTheFirstError) {
  ASSERT_TRUE(rig_.wait(registry_.drain()));
  EXPECT_EQ(told_, (Names{"first drained", "second drained"}));
  told_.clear();
  first_.refuses = Error{.code = Errc::unavailable, .message = "store away"};
  const auto drained = rig_.wait(registry_.drain());
  ASSERT_FALSE(drained);
  EXPECT_EQ(drained.error().code, Errc::unavailable);
  EXPECT_EQ(told_, (Names{"first drained"}));
}

}  // namespace
}  // namespace millrace
