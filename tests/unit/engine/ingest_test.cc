#include "engine/ingest.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

const Error kAway{.code = Errc::unavailable, .message = "away"};

class IngestTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  IngestTest() { rig_.apply(EngineParts::function("f")); }

  static Event event(const std::string& id) {
    Event one;
    one.source = "/test";
    one.source_id = id;
    return one;
  }
  RunId run_id(const std::string& id) {
    return make_run_id(rig_.parts.registry.find("f")->uid, event_id("/test", id), 0);
  }

  // As a worker does that is quick.
  void work_off(const std::string& id) {
    LiveRun run;
    run.run_id = run_id(id);
    const RunTable::Active active(rig_.parts.runs, run);
  }

  EngineRig rig_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Seeds, IngestTest, testing::Range<std::uint64_t>(1, 4));

// A worker may be through with it before the receipt is here: told afterwards it would be listed as queued for ever.
TEST_P(IngestTest, ARunIsListedBeforeItsReceipt) {
  std::optional<Result<Accepted>> accepted;
  rig_.group.spawn(keep_value(rig_.parts.ingest.invoke("f", event("a")), accepted));
  ASSERT_FALSE(accepted);
  EXPECT_TRUE(rig_.parts.runs.find(run_id("a")));
  work_off("a");
  rig_.loop.run_for(1s);
  ASSERT_TRUE(accepted && *accepted);
  EXPECT_FALSE((*accepted)->runs.front().duplicate);
  EXPECT_FALSE(rig_.parts.runs.find(run_id("a"))) << "it is over";
}

TEST_P(IngestTest, WhatWasNotPublishedIsNotListed) {
  rig_.parts.broker.publish_errors["fn.f"] = kAway;
  EXPECT_FALSE(rig_.wait(rig_.parts.ingest.invoke("f", event("a"))));
  EXPECT_FALSE(rig_.parts.runs.find(run_id("a")));
}

TEST_P(IngestTest, ARepeatOfWhatIsOverIsNotListed) {
  ASSERT_TRUE(rig_.wait(rig_.parts.ingest.invoke("f", event("a"))));
  work_off("a");
  const auto again = rig_.wait(rig_.parts.ingest.invoke("f", event("a")));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->runs.front().duplicate);
  EXPECT_FALSE(rig_.parts.runs.find(run_id("a")));
}

TEST_P(IngestTest, OnlyAFunctionThatWantsOrderSendsTheObjectsKeyAlong) {
  rig_.parts.broker.able.ordered_keys = true;
  auto ordered = EngineParts::function("ordered", "in");
  ordered.ordered_by_key = true;
  rig_.apply(ordered);
  rig_.apply(EngineParts::function("free", "in"));
  ASSERT_TRUE(rig_.wait(rig_.parts.ingest.object_created(rig_.parts.storage.put("in", "folder/a"))));
  EXPECT_EQ(rig_.parts.broker.published["fn.ordered"].at(0).key, "folder/a");
  EXPECT_EQ(rig_.parts.broker.published["fn.free"].at(0).key, "");
  ASSERT_TRUE(rig_.wait(rig_.parts.ingest.invoke("ordered", event("a"))));
  EXPECT_EQ(rig_.parts.broker.published["fn.ordered"].at(1).key, "") << "a call has no key";
}

TEST_P(IngestTest, DelayAndPriorityReachTheBroker) {
  ASSERT_TRUE(rig_.wait(rig_.parts.ingest.invoke("f", event("a"), {.delay = 5s, .priority = Priority::high})));
  const auto& message = rig_.parts.broker.published["fn.f"].at(0);
  EXPECT_EQ(message.delay, 5s);
  EXPECT_EQ(message.priority, Priority::high);
}

TEST_P(IngestTest, ARepeatOfWhatIsQueuedLeavesItListed) {
  ASSERT_TRUE(rig_.wait(rig_.parts.ingest.invoke("f", event("a"))));
  ASSERT_TRUE(rig_.wait(rig_.parts.ingest.invoke("f", event("a"))));
  EXPECT_TRUE(rig_.parts.runs.find(run_id("a")));
}

}  // namespace
}  // namespace millrace
