// User topics: functions that read them in groups of their own, and results that become events, whatever dies in
// between. Every case runs with several seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "engine/needed_runs.h"
#include "engine/topic_rates.h"
#include "formats/identity.h"
#include "tests/sim/pipeline/world.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using Texts = std::vector<std::string>;

class Topics : public testing::TestWithParam<std::uint64_t> {
 protected:
  // Reads `from`, prints what it got with `prefix` before it, which goes to `to`.
  FunctionSpec define(const std::string& name, const std::string& from, const std::string& to,
                      const std::string& prefix) {
    world_.executor.define(name, 20ms, [this, name, prefix](const ExecutionRequest& request, int) -> Result<Execution> {
      Execution execution = ended(AttemptOutcome::succeeded);
      execution.result = prefix + request.input_bytes;
      got_[name].push_back(request.input_bytes);
      return execution;
    });
    FunctionSpec spec = World::function(name, "", "");
    spec.stage_in = false;
    spec.topics.push_back({.topic = from});
    if (!to.empty()) spec.topic_outputs.push_back({.topic = to, .prefix = {}, .suffix = {}});
    return spec;
  }
  Event event(const std::string& id, const std::string& data) {
    Event event;
    event.source = "/test";
    event.source_id = id;
    event.type = "test";
    event.data = data;
    world_.ingest.stamp_root(event);
    return event;
  }
  Result<Receipt> publish(const std::string& topic, const Event& event, const std::string& message_id = {}) {
    std::vector<Outgoing> batch;
    batch.push_back({.id = message_id.empty() ? event.id.str() : message_id, .event = event});
    return world_.wait(world_.registry.topics().publish(topic, std::move(batch))).front();
  }
  Texts got(const std::string& function) {
    Texts texts = got_[function];
    std::ranges::sort(texts);
    return texts;
  }
  std::optional<RunRecord> row(const std::string& function, const Event& event) {
    return world_.row(make_run_id(world_.registry.find(function)->uid, event.id, 0));
  }
  Texts groups(const std::string& topic) {
    auto info = world_.wait(world_.broker->describe(topic));
    if (!info) return {};
    std::ranges::sort(info->spec.groups);
    return info->spec.groups;
  }

  World world_{GetParam()};
  std::map<std::string, Texts> got_;
};
INSTANTIATE_TEST_SUITE_P(Seeds, Topics, testing::Range<std::uint64_t>(1, 11));

TEST_P(Topics, WhatOneFunctionPrintsStartsTheNext) {
  world_.apply(define("first", "orders", "middle", "1 "));
  world_.apply(define("second", "middle", "end", "2 "));
  world_.apply(define("third", "end", "", ""));
  Texts wanted;
  for (int i = 10; i < 30; ++i) {
    ASSERT_TRUE(publish("orders", event(std::to_string(i), std::to_string(i))));
    wanted.push_back("2 1 " + std::to_string(i));
  }
  world_.loop.run_for(60s);
  EXPECT_EQ(got("third"), wanted);
  EXPECT_EQ(world_.runs.active_count(), 0U);
  EXPECT_EQ(world_.storage.attempts(), 0U) << "what was printed lies in the row";
}

TEST_P(Topics, AnEventSaysWhereItComesFromAndInheritsItsOrder) {
  world_.apply(define("first", "orders", "middle", ""));
  const Event root = event("1", "x");
  ASSERT_TRUE(publish("orders", root));
  world_.loop.run_for(5s);
  const auto record = row("first", root);
  ASSERT_TRUE(record);
  ASSERT_EQ(record->outputs.size(), 1U);
  EXPECT_TRUE(record->outputs[0].is_event());
  EXPECT_EQ(record->result, "x");
  const auto subscription = world_.wait(world_.broker->subscribe({.topic = "middle", .group = "mine"}));
  ASSERT_TRUE(subscription);
  (*subscription)->grant(1);
  const auto delivery = world_.wait((*subscription)->next({}));
  ASSERT_TRUE(delivery);
  const Event& result = (*delivery)->event();
  EXPECT_EQ(result.type, kResult);
  EXPECT_EQ(result.source, "/run/first");
  EXPECT_EQ(result.source_id, output_source_id(record->run_id, 0));
  EXPECT_EQ(result.order, root.order);
  EXPECT_EQ(result.cause, record->run_id);
  EXPECT_EQ(result.hops, 1U);
  EXPECT_EQ(result.time, record->committed_at);
  EXPECT_EQ(result.content_type, "text/plain; charset=utf-8");
  EXPECT_EQ(result.data, "x");
  EXPECT_TRUE(world_.wait((*delivery)->ack()));
}

TEST_P(Topics, FinishingARunTwicePublishesOnce) {
  world_.apply(define("first", "orders", "middle", ""));
  world_.apply(define("second", "middle", "", ""));
  const Event root = event("1", "x");
  ASSERT_TRUE(publish("orders", root));
  world_.loop.run_for(5s);
  auto record = row("first", root);
  ASSERT_TRUE(record);
  record->published = false;  // as if the process had died before it was marked
  ASSERT_TRUE(world_.wait(world_.finish.place_and_publish(*record)));
  record->result.clear();  // as the sweeper's lists give it
  ASSERT_TRUE(world_.wait(world_.finish.place_and_publish(*record)));
  world_.loop.run_for(5s);
  EXPECT_EQ(got("second"), Texts{"x"});
}

TEST_P(Topics, TheSameEventAsAnotherMessageIsNoSecondRun) {
  world_.apply(define("first", "orders", "", ""));
  const Event root = event("1", "x");
  ASSERT_TRUE(publish("orders", root, "message 1"));
  world_.loop.run_for(5s);
  ASSERT_TRUE(publish("orders", root, "message 2"));
  world_.loop.run_for(5s);
  EXPECT_EQ(got("first"), Texts{"x"});
  EXPECT_EQ(world_.wait(world_.broker->lag("orders", function_group("first")))->open(), 0U);
}

TEST_P(Topics, EveryFunctionGetsEveryEvent) {
  ASSERT_TRUE(publish("orders", event("1", "before")));
  world_.apply(define("one", "orders", "", ""));
  world_.loop.run_for(5s);
  auto late = define("late", "orders", "", "");
  late.topics[0].from_start = false;
  world_.apply(late);
  world_.apply(define("two", "orders", "", ""));
  ASSERT_TRUE(publish("orders", event("2", "after")));
  world_.loop.run_for(5s);
  EXPECT_EQ(got("one"), (Texts{"after", "before"}));
  EXPECT_EQ(got("two"), Texts{"after"});
  EXPECT_EQ(got("late"), Texts{"after"});
}

TEST_P(Topics, AReaderThatBeginsWithTheNewSkipsWhatWaitsForOthers) {
  auto slow = define("slow", "orders", "", "");
  world_.executor.define("slow", 1h, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::succeeded); });
  world_.apply(slow);
  ASSERT_TRUE(publish("orders", event("1", "old")));
  world_.loop.run_for(1s);
  auto late = define("late", "orders", "", "");
  late.topics[0].from_start = false;
  world_.apply(late);
  world_.apply(define("all", "orders", "", ""));
  ASSERT_TRUE(publish("orders", event("2", "new")));
  world_.loop.run_for(5s);
  EXPECT_EQ(got("late"), Texts{"new"});
  EXPECT_EQ(got("all"), (Texts{"new", "old"}));
}

TEST_P(Topics, AGroupGoesWithItsFunctionOrItsTopic) {
  world_.apply(define("one", "orders", "", ""));
  auto two = define("two", "orders", "", "");
  world_.apply(two);
  EXPECT_EQ(groups("orders"), (Texts{"fn.one", "fn.two"}));
  two.topics[0].topic = "returns";
  world_.apply(two);
  EXPECT_EQ(groups("orders"), Texts{"fn.one"});
  EXPECT_EQ(groups("returns"), Texts{"fn.two"});
  ASSERT_TRUE(world_.wait(world_.registry.remove("one")));
  EXPECT_EQ(groups("orders"), Texts{});
  ASSERT_TRUE(publish("orders", event("1", "x")));
  ASSERT_TRUE(publish("returns", event("2", "y")));
  world_.loop.run_for(5s);
  EXPECT_EQ(got("one"), Texts{});
  EXPECT_EQ(got("two"), Texts{"y"});
}

TEST_P(Topics, WhatACrashLeftOfARemovalGoesAtTheNextStart) {
  world_.apply(define("one", "orders", "", ""));
  ASSERT_TRUE(world_.wait(world_.broker->ensure({.name = "orders", .groups = {"fn.gone", "audit"}})));
  ASSERT_TRUE(world_.wait(world_.registry.load()));
  EXPECT_EQ(groups("orders"), (Texts{"audit", "fn.one"}));
}

TEST_P(Topics, BoundsStayAsTheyWereSet) {
  ASSERT_TRUE(world_.wait(
      world_.registry.topics().make("orders", {.readers = {"audit"}, .bytes_max = 4096, .messages_max = 2})));
  world_.apply(define("one", "orders", "orders2", ""));
  auto info = world_.wait(world_.broker->describe("orders"));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->spec.bytes_max, 4096U);
  EXPECT_EQ(info->spec.messages_max, 2U);
  EXPECT_EQ(info->spec.lease, 30s) << "the node's";
  ASSERT_TRUE(publish("orders", event("1", "x")));
  ASSERT_TRUE(publish("orders", event("2", "x")));
  const auto full = publish("orders", event("3", "x"));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Errc::no_space);
  EXPECT_FALSE(
      *world_.wait(world_.registry.topics().make("orders", {.readers = {}, .bytes_max = {}, .messages_max = 3})))
      << "it was there";
  EXPECT_TRUE(publish("orders", event("3", "x")));
  EXPECT_EQ(world_.wait(world_.registry.topics().make("fn.x")).error().code, Errc::invalid_argument);
  EXPECT_EQ(world_.wait(world_.registry.topics().make("x", {.readers = {"fn.x"}, .bytes_max = {}, .messages_max = {}}))
                .error()
                .code,
            Errc::invalid_argument);
}

TEST_P(Topics, ATopicThatIsFullHoldsResultsBackAndLosesNone) {
  ASSERT_TRUE(
      world_.wait(world_.registry.topics().make("middle", {.readers = {}, .bytes_max = {}, .messages_max = 1})));
  world_.apply(define("first", "orders", "middle", ""));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(publish("orders", event(std::to_string(i), std::to_string(i))));
  world_.loop.run_for(10s);
  EXPECT_EQ(world_.wait(world_.broker->describe("middle"))->messages, 1U);
  world_.apply(define("second", "middle", "", ""));
  world_.loop.run_for(10min);
  EXPECT_EQ(got("second"), (Texts{"0", "1", "2"}));
  EXPECT_EQ(world_.executor.executions("first"), 3) << "publishing is tried again, not the function";
}

TEST_P(Topics, MoreThanAnEventHoldsIsNotCutOff) {
  auto spec = define("first", "orders", "middle", "");
  world_.executor.define("first", 20ms, [](const ExecutionRequest&, int) -> Result<Execution> {
    Execution execution = ended(AttemptOutcome::succeeded);
    execution.result = std::string(kEventBytesMax + 1, 'x');
    return execution;
  });
  spec.retries = 0;
  world_.apply(spec);
  const Event root = event("1", "x");
  ASSERT_TRUE(publish("orders", root));
  world_.loop.run_for(60s);
  const auto record = row("first", root);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->outcome, RunOutcome::dead_lettered);
  EXPECT_NE(record->reason.find("write it to a file"), std::string::npos) << record->reason;
  EXPECT_EQ(world_.wait(world_.broker->describe("middle"))->published, 0U);
}

TEST_P(Topics, AFunctionThatFailsPublishesNothing) {
  auto spec = define("first", "orders", "middle", "");
  world_.executor.define("first", 20ms, [](const ExecutionRequest&, int) -> Result<Execution> {
    Execution execution = ended(AttemptOutcome::failed, "exit code 1", 1);
    execution.result = "half";
    return execution;
  });
  spec.retries = 0;
  spec.publish_on_failure = true;  // is about files
  world_.apply(spec);
  ASSERT_TRUE(publish("orders", event("1", "x")));
  world_.loop.run_for(60s);
  EXPECT_EQ(world_.wait(world_.broker->lag("orders", function_group("first")))->dead, 1U);
  EXPECT_EQ(world_.wait(world_.broker->describe("middle"))->published, 0U);
}

TEST_P(Topics, AFunctionsTopicsShareItsSlots) {
  auto spec = define("both", "orders", "", "");
  spec.topics.push_back({.topic = "returns"});
  spec.concurrency = 1;
  world_.apply(spec);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(publish("orders", event("o" + std::to_string(i), "o")));
    ASSERT_TRUE(publish("returns", event("r" + std::to_string(i), "r")));
  }
  world_.loop.run_for(220ms);  // about ten runs
  EXPECT_GE(std::ranges::count(got_["both"], "o"), 2);
  EXPECT_GE(std::ranges::count(got_["both"], "r"), 2);
  world_.loop.run_for(60s);
  EXPECT_EQ(got_["both"].size(), 20U);
  EXPECT_EQ(world_.executor.running_max(), 1);
}

TEST_P(Topics, AnEventOfAStrangerGetsAnOrderThatStays) {
  world_.apply(define("first", "orders", "", ""));
  Event foreign = event("1", "x");
  foreign.order = {};
  foreign.time = {};
  ASSERT_TRUE(publish("orders", foreign));
  world_.loop.run_for(5s);
  const auto record = row("first", foreign);
  ASSERT_TRUE(record);
  EXPECT_TRUE(is_ulid(record->order.str())) << record->order.str();
  EXPECT_EQ(foreign_order(record->queued_at, foreign.id), record->order);
}

TEST_P(Topics, WhatWaitsOnAUserTopicKeepsRecordsFromGoing) {
  auto spec = define("slow", "orders", "", "");
  world_.executor.define("slow", 1h, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::succeeded); });
  world_.apply(spec);
  const auto before = world_.loop.wall_now();
  ASSERT_TRUE(publish("orders", event("1", "x")));
  world_.loop.run_for(60s);
  const auto needed = world_.wait(needed_runs(world_.loop, *world_.broker));
  ASSERT_TRUE(needed);
  EXPECT_EQ(needed->open_topic, "orders");
  EXPECT_LE(needed->open_since, before + 1s);
}

TEST(TopicRates, AreTheChangeOverTheLastSeconds) {
  TopicRates rates;
  const EventLoop::TimePoint start{};
  EXPECT_FALSE(rates.note("t", 100, 40, start).published_per_s);
  EXPECT_FALSE(rates.note("t", 110, 40, start + 499ms).published_per_s);
  const auto second = rates.note("t", 120, 50, start + 1s);
  ASSERT_TRUE(second.published_per_s && second.consumed_per_s);
  EXPECT_DOUBLE_EQ(*second.published_per_s, 20);
  EXPECT_DOUBLE_EQ(*second.consumed_per_s, 10);
  EXPECT_FALSE(rates.note("other", 1, 0, start + 1s).published_per_s);
  const auto idle = rates.note("t", 120, 50, start + 11'500ms);
  EXPECT_FALSE(idle.published_per_s) << "too long ago";
  const auto made_anew = rates.note("t", 3, 0, start + 12'500ms);
  EXPECT_DOUBLE_EQ(*made_anew.published_per_s, 0);
}

TEST(TopicRates, HoldsNoMoreThanItsBounds) {
  TopicRates rates;
  const EventLoop::TimePoint start{};
  for (std::size_t i = 0; i <= TopicRates::kTopicsMax; ++i)
    static_cast<void>(rates.note(std::to_string(i), 1, 0, start));
  for (int i = 0; i < 10'000; ++i) static_cast<void>(rates.note("t", 1, 0, start + i * 1ms));
  EXPECT_TRUE(rates.note("t", 1, 0, start + 10s).published_per_s);
}

}  // namespace
}  // namespace millrace
