#include "engine/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class ReplayTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  ReplayTest() { function_ = rig_.apply(EngineParts::function("f", "in", "out")); }

  // An object that lay there when the function was applied: seen, and without a run.
  ObjectRef there(const std::string& key, const std::string& bucket = "in") {
    ObjectRef object = rig_.parts.storage.put(bucket, key);
    see(object);
    return object;
  }
  void see(const ObjectRef& object) {
    const std::string trigger = triggers_of(function_).front().id;
    ASSERT_TRUE(rig_.wait(rig_.parts.state.seen().put(trigger, {{object.key, object_event_id(object)}})));
  }
  Result<Replayed> replay(Replay::Which which = Replay::Which::without_a_run) {
    return rig_.wait(rig_.parts.replay.objects("f", which, {}));
  }
  const std::vector<Outgoing>& published() { return rig_.parts.broker.published["fn.f"]; }
  RunId run_id(const ObjectRef& object, std::uint32_t generation = 0) {
    return make_run_id(function_->uid, object_event_id(object), generation);
  }
  // A run of the object that is over.
  void done(const RunId& run_id, RunOutcome outcome = RunOutcome::succeeded) {
    rig_.parts.runs.not_queued(run_id);
    RunRecord record;
    record.run_id = run_id;
    record.event_id = EventId("e");
    record.function = "f";
    record.outcome = outcome;
    record.placed = record.published = true;
    ASSERT_TRUE(rig_.wait(rig_.parts.state.runs().commit(record)));
  }

  EngineRig rig_{GetParam()};
  std::shared_ptr<const FunctionSpec> function_;
};
INSTANTIATE_TEST_SUITE_P(Seeds, ReplayTest, testing::Range<std::uint64_t>(1, 4));

TEST_P(ReplayTest, PublishesWhatHasNoRunUnderTheIdItWouldHaveHad) {
  const auto a = there("a");
  const auto b = there("b");
  done(run_id(b), RunOutcome::dead_lettered);
  const auto replayed = replay();
  ASSERT_TRUE(replayed) << replayed.error().message;
  EXPECT_EQ(replayed->published, 1U);
  EXPECT_EQ(replayed->known, 1U);
  ASSERT_EQ(published().size(), 1U);
  EXPECT_EQ(published()[0].event.id, object_event_id(a));
  EXPECT_EQ(published()[0].event.object->version, a.version);
  EXPECT_EQ(published()[0].event.generation, 0U);
  EXPECT_FALSE(published()[0].event.order.empty());
  EXPECT_TRUE(rig_.parts.runs.find(run_id(a))) << "it is listed as queued";
}

TEST_P(ReplayTest, ASecondReplayPublishesNothingWhileTheFirstIsQueuedOrOver) {
  const auto a = there("a");
  EXPECT_EQ(replay()->published, 1U);
  EXPECT_EQ(replay()->known, 1U);
  done(run_id(a));
  EXPECT_EQ(replay()->known, 1U);
  EXPECT_EQ(published().size(), 1U);
}

TEST_P(ReplayTest, WhatIsQueuedButForgottenByTheTableIsADuplicateOfTheBrokers) {
  const auto a = there("a");
  EXPECT_EQ(replay()->published, 1U);
  rig_.parts.runs.not_queued(run_id(a));
  const auto again = replay();
  EXPECT_EQ(again->published, 0U);
  EXPECT_EQ(again->known, 1U);
  EXPECT_EQ(published().size(), 1U);
}

TEST_P(ReplayTest, AgainRunsEverythingUnderTheNextGenerationAndANewOrder) {
  const auto a = there("a");
  const auto b = there("b");
  done(run_id(a, 0));
  done(run_id(a, 1));
  const auto replayed = replay(Replay::Which::all);
  ASSERT_TRUE(replayed);
  EXPECT_EQ(replayed->published, 2U);
  ASSERT_EQ(published().size(), 2U);
  EXPECT_EQ(published()[0].event.id, object_event_id(a));
  EXPECT_EQ(published()[0].event.generation, 2U);
  EXPECT_FALSE(published()[0].event.order.empty());
  EXPECT_EQ(published()[1].event.id, object_event_id(b));
  EXPECT_EQ(published()[1].event.generation, 0U);

  EXPECT_EQ(replay(Replay::Which::all)->known, 2U) << "both are going on";
  done(run_id(a, 2));
  const Order before = published()[0].event.order;
  EXPECT_EQ(replay(Replay::Which::all)->published, 1U);
  ASSERT_EQ(published().size(), 3U);
  EXPECT_EQ(published()[2].event.generation, 3U);
  EXPECT_GT(published()[2].event.order, before);
}

// It may be half written; its own event comes when it is whole.
TEST_P(ReplayTest, LeavesWhatHasJustAppearedOrChangedToItsOwnEvent) {
  rig_.parts.storage.put("in", "new");
  there("changed");
  rig_.parts.storage.put("in", "changed");
  const auto replayed = replay();
  EXPECT_EQ(replayed->news, 2U);
  EXPECT_TRUE(published().empty());
}

TEST_P(ReplayTest, LeavesWhatTheFunctionIgnoresOrWasRemoved) {
  there(".hidden");
  const auto replayed = replay();
  EXPECT_EQ(replayed->published + replayed->known + replayed->news, 0U);
}

TEST_P(ReplayTest, AnOutputOfOursKeepsTheEventThatWasPublishedAboutIt) {
  rig_.apply(EngineParts::function("maker", {}, "in"));
  RunRecord record = rig_.committed("maker", "in", {"made"});
  record.hops = 2;
  ASSERT_TRUE(rig_.wait(rig_.parts.finish.place_and_publish(record)));
  const RunId first = make_run_id(function_->uid, output_event(record, 0).id, 0);
  ASSERT_EQ(published().size(), 1U);
  EXPECT_EQ(replay()->known, 1U) << "queued already";
  done(first);
  EXPECT_EQ(replay()->known, 1U);
  EXPECT_EQ(replay(Replay::Which::all)->published, 1U);
  ASSERT_EQ(published().size(), 2U);
  const Event& event = published()[1].event;
  EXPECT_EQ(event.id, output_event(record, 0).id);
  EXPECT_EQ(event.cause, record.run_id);
  EXPECT_EQ(event.generation, 1U);
  EXPECT_GT(event.order, record.order);
  EXPECT_TRUE(event.object->private_path.empty()) << "a private copy may have been freed";
  EXPECT_EQ(event.object->version, record.outputs[0].placed);
}

TEST_P(ReplayTest, GoesThroughMorePagesThanOne) {
  std::map<std::string, EventId> rows;
  for (int i = 0; i < 2'500; ++i) {
    const auto object = rig_.parts.storage.put("in", "k" + std::to_string(i));
    rows[object.key] = object_event_id(object);
  }
  ASSERT_TRUE(rig_.wait(rig_.parts.state.seen().put(triggers_of(function_).front().id, rows)));
  EXPECT_EQ(replay()->published, 2'500U);
  EXPECT_EQ(published().size(), 2'500U);
}

TEST_P(ReplayTest, AnObjectBelowTwoInputsRunsOnce) {
  auto spec = EngineParts::function("two", "deep", "out");
  spec.inputs.push_back({.storage = {.provider = "local", .path = "deep/er"}});
  const auto two = rig_.apply(spec);
  const auto object = rig_.parts.storage.put("deep", "er/a");
  for (const auto& trigger : triggers_of(two)) {
    ASSERT_TRUE(rig_.wait(rig_.parts.state.seen().put(trigger.id, {{object.key, object_event_id(object)}})));
  }
  const auto replayed = rig_.wait(rig_.parts.replay.objects("two", Replay::Which::without_a_run, {}));
  ASSERT_TRUE(replayed);
  EXPECT_EQ(replayed->published, 1U);
  EXPECT_EQ(replayed->known, 0U);
}

TEST_P(ReplayTest, SaysWhatCannotBeReplayed) {
  const auto unknown = rig_.wait(rig_.parts.replay.objects("none", Replay::Which::all, {}));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::not_found);
  rig_.apply(EngineParts::function("called"));
  const auto without = rig_.wait(rig_.parts.replay.objects("called", Replay::Which::all, {}));
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, Errc::failed_precondition);
}

TEST_P(ReplayTest, ABrokerThatTakesNothingIsToldAndARepetitionGoesOn) {
  there("a");
  rig_.parts.broker.publish_errors["fn.f"] = {.code = Errc::no_space, .message = "full"};
  const auto refused = replay();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::no_space);
  rig_.parts.broker.publish_errors.clear();
  EXPECT_EQ(replay()->published, 1U);
}

TEST_P(ReplayTest, EndsWithWhomItIsFor) {
  there("a");
  std::stop_source left;
  left.request_stop();
  const auto replayed = rig_.wait(rig_.parts.replay.objects("f", Replay::Which::all, left.get_token()));
  ASSERT_FALSE(replayed);
  EXPECT_EQ(replayed.error().code, Errc::cancelled);
  EXPECT_TRUE(published().empty());
}

}  // namespace
}  // namespace millrace
