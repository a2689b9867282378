#include "engine/finish.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using Names = std::vector<std::string>;

const Error kFull{.code = Errc::no_space, .message = "out/a: disk full"};
const Error kInTheWay{.code = Errc::failed_precondition, .message = "out/a is a directory"};
const Error kAway{.code = Errc::unavailable, .message = "away"};

class FinishTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  Result<void> finish(const RunRecord& record) { return rig_.wait(rig_.parts.finish.place_and_publish(record)); }
  RunRecord row(const RunRecord& record) { return *rig_.row(record.run_id); }
  // The objects that function `name` was told of, as private paths.
  Names told(const std::string& name) {
    Names paths;
    for (const auto& message : rig_.parts.broker.published[work_topic(name)]) {
      paths.push_back(message.event.object->private_path);
    }
    return paths;
  }
  std::optional<EventId> seen(const std::string& function, const std::string& key) {
    const auto trigger = triggers_of(rig_.parts.registry.find(function)).at(0);
    return *rig_.wait(rig_.parts.state.seen().get(trigger.id, key));
  }

  EngineRig rig_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Seeds, FinishTest, testing::Range<std::uint64_t>(1, 4));

TEST_P(FinishTest, PlacesThenPublishesThenMarksBothInOneWrite) {
  rig_.apply(EngineParts::function("next", "out"));
  const RunRecord record = rig_.committed("first", "out", {"a", "b"});
  ASSERT_TRUE(finish(record));
  EXPECT_EQ(rig_.parts.storage.visible("out"), (Names{"a", "b"}));
  EXPECT_EQ(told("next"), (Names{record.outputs[0].private_path, record.outputs[1].private_path}));
  EXPECT_TRUE(row(record).placed);
  EXPECT_TRUE(row(record).published);
  EXPECT_EQ(rig_.parts.state.calls(StateCall::mark), 1);
}

TEST_P(FinishTest, ARunWithoutOutputsIsOnlyMarked) {
  const RunRecord record = rig_.committed("first", "out", {});
  ASSERT_TRUE(finish(record));
  EXPECT_TRUE(row(record).placed);
  EXPECT_TRUE(row(record).published);
}

TEST_P(FinishTest, WhatIsMarkedIsNotDoneAgain) {
  rig_.apply(EngineParts::function("next", "out"));
  RunRecord record = rig_.committed("first", "out", {"a"});
  record.placed = record.published = true;
  ASSERT_TRUE(finish(record));
  EXPECT_TRUE(rig_.parts.storage.visible("out").empty());
  EXPECT_TRUE(told("next").empty());
  EXPECT_EQ(rig_.parts.state.calls(StateCall::mark), 0);

  record.published = false;
  ASSERT_TRUE(finish(record));
  EXPECT_TRUE(rig_.parts.storage.visible("out").empty()) << "a name that the user removed since stays removed";
  EXPECT_EQ(told("next").size(), 1U);
}

TEST_P(FinishTest, ANameThatCannotBePlacedKeepsNoOtherFromAppearingAndPublishesNothing) {
  rig_.apply(EngineParts::function("next", "out"));
  const RunRecord record = rig_.committed("first", "out", {"a", "b", "c"});
  rig_.parts.storage.fail_placing(1, kInTheWay);
  const auto finished = finish(record);
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::failed_precondition);
  EXPECT_EQ(finished.error().message, "cannot_place: out/a is a directory");
  EXPECT_EQ(rig_.parts.storage.visible("out"), (Names{"b", "c"}));
  EXPECT_TRUE(told("next").empty());
  EXPECT_FALSE(seen("next", "b"));
  EXPECT_FALSE(row(record).placed);
  EXPECT_FALSE(row(record).published);

  ASSERT_TRUE(finish(row(record)));
  EXPECT_EQ(rig_.parts.storage.visible("out"), (Names{"a", "b", "c"}));
  EXPECT_EQ(rig_.parts.storage.appearances("out", "b"), 1);
  EXPECT_EQ(told("next").size(), 3U);
}

TEST_P(FinishTest, SeveralNamesThatCannotBePlacedAreAllTried) {
  const RunRecord record = rig_.committed("first", "out", {"a", "b"});
  rig_.parts.storage.fail_placing(2, kFull);
  const auto finished = finish(record);
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::no_space);
  EXPECT_EQ(rig_.parts.storage.calls(StorageCall::place), 2);
}

// Whoever is told of the other one would give the run up.
TEST_P(FinishTest, OfSeveralTroublesTheOneThatMayPassIsTold) {
  const RunRecord record = rig_.committed("first", "out", {"a", "b", "c"});
  rig_.parts.storage.on_place = [](const OutputFile& file) -> Result<void> {
    return fail(file.key == "b" ? kAway : kInTheWay);
  };
  const auto finished = finish(record);
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::unavailable);
}

TEST_P(FinishTest, APublishThatFailsMarksOnlyWhatWasPlaced) {
  rig_.apply(EngineParts::function("next", "out"));
  const RunRecord record = rig_.committed("first", "out", {"a", "b"});
  rig_.parts.broker.publish_errors["fn.next"] = kAway;
  const auto finished = finish(record);
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::unavailable);
  EXPECT_EQ(rig_.parts.storage.visible("out"), (Names{"a", "b"}));
  EXPECT_TRUE(row(record).placed);
  EXPECT_FALSE(row(record).published);
  EXPECT_FALSE(seen("next", "a")) << "what nobody was told of is not seen";

  rig_.parts.broker.publish_errors.clear();
  ASSERT_TRUE(finish(row(record)));
  EXPECT_EQ(told("next").size(), 2U);
  EXPECT_EQ(rig_.parts.storage.calls(StorageCall::place), 2) << "nothing is placed twice";
  EXPECT_TRUE(row(record).published);
}

TEST_P(FinishTest, AMarkThatFailsIsToldAndRepeatsUnderTheSameIds) {
  rig_.apply(EngineParts::function("next", "out"));
  const RunRecord record = rig_.committed("first", "out", {"a"});
  rig_.parts.state.fail_next(StateCall::mark, kAway);
  const auto finished = finish(record);
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().code, Errc::unavailable);
  EXPECT_FALSE(row(record).placed);

  ASSERT_TRUE(finish(row(record)));
  EXPECT_EQ(rig_.parts.storage.appearances("out", "a"), 1);
  EXPECT_EQ(told("next").size(), 1U) << "the second publish is a repeat of the first";
}

// Without these rows a scan would take our own outputs for new files.
TEST_P(FinishTest, OutputsAreSeenByEveryTriggerOverThemAsTheyLieUnderTheUsersName) {
  rig_.apply(EngineParts::function("next", "out"));
  rig_.apply(EngineParts::function("other", "elsewhere"));
  const RunRecord record = rig_.committed("first", "out", {"a"});
  ASSERT_TRUE(finish(record));
  const ObjectRef placed{
      .store = "local", .bucket = "out", .key = "a", .version = record.outputs[0].placed, .private_path = {}};
  ASSERT_TRUE(seen("next", "a"));
  EXPECT_EQ(*seen("next", "a"), object_event_id(placed));
  EXPECT_NE(*seen("next", "a"), output_event(record, 0).id) << "not the event's id: a scan computes the object's";
  EXPECT_FALSE(seen("other", "a"));
}

TEST_P(FinishTest, OutputsThatNoFunctionWantsArePublishedByDoingNothing) {
  const RunRecord record = rig_.committed("first", "out", {"a"});
  ASSERT_TRUE(finish(record));
  EXPECT_TRUE(rig_.parts.broker.published.empty());
  EXPECT_TRUE(row(record).published);
}

TEST_P(FinishTest, ALaterRunsFileKeepsTheName) {
  const RunRecord earlier = rig_.committed("first", "out", {"a"});
  rig_.loop.run_for(std::chrono::seconds(1));
  const RunRecord later = rig_.committed("first", "out", {"a"});
  ASSERT_TRUE(finish(later));
  ASSERT_TRUE(finish(earlier));
  EXPECT_EQ(rig_.parts.storage.owner("out", "a"), later.run_id);
  EXPECT_TRUE(row(earlier).placed);
}

TEST(OutputEvent, InheritsFromItsRunAndNamesThePrivateCopy) {
  RunRecord record;
  record.run_id = RunId("run");
  record.function = "first";
  record.order = Order("order");
  record.hops = 4;
  record.committed_at = WallTime(std::chrono::seconds(7));
  record.outputs.resize(2);
  record.outputs[1].bucket = "out";
  record.outputs[1].key = "deep/b";
  record.outputs[1].placed = {.size_bytes = 1, .mtime_ns = 1, .inode = 1};
  record.outputs[1].version = {.size_bytes = 2, .mtime_ns = 2, .inode = 2};
  record.outputs[1].private_path = "out/.millrace/x";
  const Event event = output_event(record, 1);
  EXPECT_EQ(event.hops, 5U);
  EXPECT_EQ(event.order, record.order);
  EXPECT_EQ(event.cause, record.run_id);
  EXPECT_EQ(event.time, record.committed_at);
  EXPECT_EQ(event.type, kObjectCreated);
  EXPECT_EQ(event.subject, "deep/b");
  EXPECT_EQ(event.source, "/run/first");
  ASSERT_TRUE(event.object);
  EXPECT_EQ(event.object->private_path, "out/.millrace/x");
  EXPECT_EQ(event.object->version, record.outputs[1].version);

  EXPECT_EQ(event.id, output_event(record, 1).id) << "every attempt to publish gives the same id";
  EXPECT_NE(event.id, output_event(record, 0).id);
  RunRecord other = record;
  other.run_id = RunId("another run");
  EXPECT_NE(event.id, output_event(other, 1).id);
}

TEST(AttemptPlaceOf, AFunctionIsTheBucketOfItsFirstOutputOrTheStoresRoot) {
  FunctionSpec function;
  EXPECT_EQ(attempt_place(function, RunId("r"), AttemptToken("t")).bucket, "");
  function.outputs.push_back({.storage = {.provider = "local", .path = "out/deep"}, .prefix = {}, .suffix = {}});
  function.outputs.push_back({.storage = {.provider = "local", .path = "two"}, .prefix = {}, .suffix = {}});
  const auto place = attempt_place(function, RunId("r"), AttemptToken("t"));
  EXPECT_EQ(place.bucket, "out");
  EXPECT_EQ(place.run_id, RunId("r"));
  EXPECT_EQ(place.token, AttemptToken("t"));
}

TEST(AttemptPlaceOf, ARowIsWhereItsPrivateCopiesLie) {
  RunRecord record;
  record.run_id = RunId("r");
  record.token = AttemptToken("t");
  EXPECT_EQ(attempt_place(record).bucket, "");
  record.outputs.resize(1);
  record.outputs[0].bucket = "two";  // where it appears, not where the attempt is
  record.outputs[0].private_path = "out/.millrace/ab/r/t/private/x";
  EXPECT_EQ(attempt_place(record).bucket, "out");
  record.outputs[0].private_path = ".millrace/ab/r/t/private/x";
  EXPECT_EQ(attempt_place(record).bucket, "");
  EXPECT_EQ(attempt_place(record).run_id, record.run_id);
  EXPECT_EQ(attempt_place(record).token, record.token);
}

TEST(OutputRankOf, TheLaterRootThenTheHigherGenerationThenTheEventIdWins) {
  const auto rank = [](const char* order, std::uint32_t generation, const char* event) {
    return output_rank(Order(order), generation, EventId(event), RunId("r"));
  };
  EXPECT_LT(rank("1", 9, "z"), rank("2", 0, "a"));
  EXPECT_LT(rank("1", 0, "z"), rank("1", 1, "a"));
  EXPECT_LT(rank("1", 1, "a"), rank("1", 1, "b"));
  EXPECT_EQ(rank("1", 1, "a"), rank("1", 1, "a"));
}

}  // namespace
}  // namespace millrace
