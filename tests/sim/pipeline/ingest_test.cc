// What one object becomes when it is told of more than once: by a watch and an upload, by a scan long after.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/sim/pipeline/world.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class IngestSim : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, IngestSim, testing::Range<std::uint64_t>(1, 21));

AcceptedRun run_of(const Accepted& accepted, const std::string& function) {
  const auto found = std::ranges::find(accepted.runs, function, &AcceptedRun::function);
  return found == accepted.runs.end() ? AcceptedRun{} : *found;
}

TEST_P(IngestSim, WhatAFunctionHasSeenIsNotPublishedAgainAfterTheBrokerHasForgottenIt) {
  World world(GetParam());
  world.define_copy("early");
  world.define_copy("late");
  world.apply(World::function("early", "in", "out-early"));
  const ObjectRef object = world.storage.put("in", "a");
  const auto first = world.wait(world.ingest.object_created(object));
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_FALSE(run_of(*first, "early").duplicate);
  world.loop.run_for(TopicSpec().dedupe_window + 1min);

  world.apply(World::function("late", "in", "out-late"));
  const auto again = world.wait(world.ingest.object_created(object));
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_EQ(again->runs.size(), 2U);
  EXPECT_EQ(again->event_id, first->event_id);
  EXPECT_EQ(run_of(*again, "early").run_id, run_of(*first, "early").run_id);
  EXPECT_TRUE(run_of(*again, "early").duplicate) << "a second message was published";
  EXPECT_FALSE(run_of(*again, "late").duplicate);
  world.loop.run_for(5s);
  EXPECT_EQ(world.executor.executions("early"), 1);
  EXPECT_EQ(world.executor.executions("late"), 1);
}

TEST_P(IngestSim, OtherContentUnderASeenNameIsPublished) {
  World world(GetParam());
  world.define_copy("copy");
  world.apply(World::function("copy", "in", "out"));
  const auto first = world.wait(world.ingest.object_created(world.storage.put("in", "a")));
  world.loop.run_for(5s);
  const auto second = world.wait(world.ingest.object_created(world.storage.put("in", "a")));
  world.loop.run_for(5s);
  EXPECT_FALSE(run_of(*second, "copy").duplicate);
  EXPECT_NE(run_of(*second, "copy").run_id, run_of(*first, "copy").run_id);
  EXPECT_EQ(world.executor.executions("copy"), 2);
}

TEST_P(IngestSim, TwoWhoTellOfOneObjectAtOnceStartOneRun) {
  World world(GetParam());
  world.define_copy("copy");
  world.apply(World::function("copy", "in", "out"));
  const ObjectRef object = world.storage.put("in", "a");
  std::optional<Result<Accepted>> watch;
  std::optional<Result<Accepted>> upload;
  world.group.spawn(keep(world.ingest.object_created(object), watch));
  world.group.spawn(keep(world.ingest.object_created(object), upload));
  world.loop.run_for(5s);
  ASSERT_TRUE(watch && *watch && upload && *upload);
  EXPECT_EQ(run_of(**watch, "copy").run_id, run_of(**upload, "copy").run_id);
  EXPECT_NE(run_of(**watch, "copy").duplicate, run_of(**upload, "copy").duplicate);
  EXPECT_EQ(world.executor.executions("copy"), 1);
}

}  // namespace
}  // namespace millrace
