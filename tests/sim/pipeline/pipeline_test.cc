// The path of an event, from the object to the verdict, with everything that can go wrong on the way. Every case runs
// with several seeds: the order of steps within one instant is the seed's.
#include <gtest/gtest.h>

#include <set>

#include "formats/identity.h"
#include "tests/sim/pipeline/world.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class Pipeline : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, Pipeline, testing::Range<std::uint64_t>(1, 21));

TEST_P(Pipeline, AnObjectStartsItsFunctionAndTheOutputAppearsOnce) {
  World world(GetParam());
  world.define_copy("copy");
  world.apply(World::function("copy", "in", "out"));
  const RunId run = world.drop("in", "a.txt", "copy");
  world.loop.run_for(5s);

  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::succeeded);
  EXPECT_TRUE(world.row(run)->placed);
  EXPECT_TRUE(world.row(run)->published);
  EXPECT_EQ(world.storage.visible("out"), std::vector<std::string>{"a.txt"});
  EXPECT_EQ(world.executor.executions("copy"), 1);
  EXPECT_EQ(world.lag("copy").open(), 0U);
  EXPECT_EQ(world.storage.attempts(), 0U);
  EXPECT_EQ(world.runs.active_count(), 0U);
}

TEST_P(Pipeline, OutputsStartTheNextFunctionOfAChain) {
  World world(GetParam());
  world.define_copy("first");
  world.define_copy("second");
  world.apply(World::function("first", "in", "middle"));
  world.apply(World::function("second", "middle", "out"));
  std::set<std::string> names;
  for (int i = 0; i < 20; ++i) {
    const std::string name = "f" + std::to_string(i);
    names.insert(name);
    world.drop("in", name, "first");
  }
  world.loop.run_for(60s);

  const auto out = world.storage.visible("out");
  EXPECT_EQ(std::set<std::string>(out.begin(), out.end()), names);
  for (const auto& name : names) EXPECT_EQ(world.storage.appearances("out", name), 1) << name;
  EXPECT_EQ(world.executor.executions("first"), 20);
  EXPECT_EQ(world.executor.executions("second"), 20);
}

TEST_P(Pipeline, TheSameObjectTwiceRunsOnce) {
  World world(GetParam());
  world.define_copy("copy");
  world.apply(World::function("copy", "in", "out"));
  const ObjectRef object = world.storage.put("in", "a");
  const auto first = world.wait(world.ingest.object_created(object));
  world.loop.run_for(5s);
  const auto again = world.wait(world.ingest.object_created(object));
  world.loop.run_for(5s);
  EXPECT_EQ(first->event_id, again->event_id);
  EXPECT_EQ(world.executor.executions("copy"), 1);
}

TEST_P(Pipeline, AFailingFunctionIsRetriedThenDeadLettered) {
  World world(GetParam());
  world.executor.define("bad", 10ms,
                        [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 3", 3); });
  FunctionSpec spec = World::function("bad", "in", "out");
  spec.retries = 2;
  world.apply(spec);
  const RunId run = world.drop("in", "a", "bad");
  world.loop.run_for(60s);

  EXPECT_EQ(world.executor.executions("bad"), 3);
  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::dead_lettered);
  EXPECT_EQ(world.row(run)->reason, "exit code 3");
  EXPECT_EQ(world.row(run)->failures, 3U);
  EXPECT_EQ(world.lag("bad").dead, 1U);
  EXPECT_EQ(world.lag("bad").open(), 0U);
  EXPECT_EQ(world.storage.attempts(), 0U);
  EXPECT_EQ(world.wait(world.state->runs().attempts(run))->size(), 3U);
}

TEST_P(Pipeline, APermanentExitCodeIsNotRetried) {
  World world(GetParam());
  world.executor.define("bad", 10ms,
                        [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 65", 65); });
  world.apply(World::function("bad", "in", "out"));
  world.drop("in", "a", "bad");
  world.loop.run_for(60s);
  EXPECT_EQ(world.executor.executions("bad"), 1);
  EXPECT_EQ(world.lag("bad").dead, 1U);
}

TEST_P(Pipeline, AFailureThatPassesSucceedsInTheEnd) {
  World world(GetParam());
  world.executor.define("flaky", 10ms, [&world](const ExecutionRequest& request, int nth) -> Result<Execution> {
    if (nth < 3) return ended(AttemptOutcome::timed_out, "ran longer than 1s");
    return world.leave_copy(request);
  });
  world.apply(World::function("flaky", "in", "out"));
  const RunId run = world.drop("in", "a", "flaky");
  world.loop.run_for(60s);
  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::succeeded);
  EXPECT_EQ(world.row(run)->failures, 2U);
  EXPECT_EQ(world.storage.visible("out").size(), 1U);
}

TEST_P(Pipeline, LossesDoNotCountAsFailures) {
  World world(GetParam());
  world.executor.define("lost", 10ms, [&world](const ExecutionRequest& request, int nth) -> Result<Execution> {
    if (nth <= 4) return ended(AttemptOutcome::lost, "the launcher died");
    return world.leave_copy(request);
  });
  FunctionSpec spec = World::function("lost", "in", "out");
  spec.retries = 0;
  world.apply(spec);
  const RunId run = world.drop("in", "a", "lost");
  world.loop.run_for(120s);
  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::succeeded);
  EXPECT_EQ(world.row(run)->failures, 0U);
  EXPECT_EQ(world.row(run)->losses, 4U);
}

TEST_P(Pipeline, TooManyLossesEndInTheDeadLetters) {
  World world(GetParam());
  world.executor.define("killer", 10ms,
                        [](const ExecutionRequest&, int) { return ended(AttemptOutcome::lost, "the launcher died"); });
  FunctionSpec spec = World::function("killer", "in", "out");
  spec.max_losses = 3;
  world.apply(spec);
  const RunId run = world.drop("in", "a", "killer");
  world.loop.run_for(120s);
  EXPECT_EQ(world.executor.executions("killer"), 3);
  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::dead_lettered);
  EXPECT_EQ(world.lag("killer").dead, 1U);
}

TEST_P(Pipeline, InfrastructureTroubleCountsNothingAndPasses) {
  World world(GetParam());
  world.executor.define("copy", 10ms, [&world](const ExecutionRequest& request, int nth) -> Result<Execution> {
    if (nth <= 5) return fail(Errc::unavailable, "no launcher");
    return world.leave_copy(request);
  });
  FunctionSpec spec = World::function("copy", "in", "out");
  spec.retries = 0;
  world.apply(spec);
  const RunId run = world.drop("in", "a", "copy");
  world.loop.run_for(300s);
  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::succeeded);
  EXPECT_EQ(world.row(run)->failures, 0U);
  EXPECT_EQ(world.row(run)->losses, 0U);
}

TEST_P(Pipeline, WhatCanNeverStartIsGivenUpAtOnce) {
  World world(GetParam());
  world.executor.define("bad", 10ms, [](const ExecutionRequest&, int) -> Result<Execution> {
    return fail(Errc::invalid_argument, "interpreter '/usr/bin/pythn' does not exist");
  });
  world.apply(World::function("bad", "in", "out"));
  const RunId run = world.drop("in", "a", "bad");
  world.loop.run_for(30s);
  EXPECT_EQ(world.executor.executions("bad"), 1);
  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::dead_lettered);
  EXPECT_NE(world.row(run)->reason.find("pythn"), std::string::npos);
}

TEST_P(Pipeline, AnInputThatIsGoneIsSkipped) {
  World world(GetParam());
  world.define_copy("copy");
  world.apply(World::function("copy", "in", "out"));
  const ObjectRef object = world.storage.put("in", "a");
  world.storage.take_away("in", "a");
  const auto accepted = world.wait(world.ingest.object_created(object));
  world.loop.run_for(10s);
  ASSERT_TRUE(world.row(accepted->runs[0].run_id));
  EXPECT_EQ(world.row(accepted->runs[0].run_id)->outcome, RunOutcome::skipped);
  EXPECT_EQ(world.executor.executions("copy"), 0);
  EXPECT_EQ(world.lag("copy").dead, 0U);
}

TEST_P(Pipeline, AnInputReplacedWhileItIsProcessedIsSkippedAndTheNewOneRuns) {
  World world(GetParam());
  world.executor.define("copy", 50ms, [&world](const ExecutionRequest& request, int nth) -> Result<Execution> {
    if (nth == 1) world.storage.put("in", "a");  // a user rewrites it meanwhile
    return world.leave_copy(request);
  });
  world.apply(World::function("copy", "in", "out"));
  const RunId first = world.drop("in", "a", "copy");
  world.loop.run_for(10s);
  ASSERT_TRUE(world.row(first));
  EXPECT_EQ(world.row(first)->outcome, RunOutcome::skipped);
  EXPECT_TRUE(world.storage.visible("out").empty());
}

TEST_P(Pipeline, RedriveRunsADeadLetterAgainUnderANewGeneration) {
  World world(GetParam());
  bool repaired = false;
  world.executor.define("copy", 10ms, [&](const ExecutionRequest& request, int) -> Result<Execution> {
    if (!repaired) return ended(AttemptOutcome::failed, "exit code 1", 1);
    return world.leave_copy(request);
  });
  FunctionSpec spec = World::function("copy", "in", "out");
  spec.retries = 0;
  world.apply(spec);
  const RunId run = world.drop("in", "a", "copy");
  world.loop.run_for(10s);
  ASSERT_EQ(world.lag("copy").dead, 1U);

  repaired = true;
  const auto count = world.wait(world.broker->redrive(work_topic("copy"), std::string(kWorkersGroup), {}));
  ASSERT_TRUE(count) << count.error().message;
  EXPECT_EQ(*count, 1U);
  world.loop.run_for(10s);
  EXPECT_EQ(world.lag("copy").dead, 0U);
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::dead_lettered);  // history stays
  EXPECT_EQ(world.storage.visible("out").size(), 1U);
}

TEST_P(Pipeline, APlaceThatIsInTheWayIsADeadLetterAndRedriveGoesOnWithoutRunningAgain) {
  World world(GetParam());
  world.define_copy("copy");
  world.apply(World::function("copy", "in", "out"));
  world.storage.fail_placing(1, {.code = Errc::failed_precondition, .message = "out/a is a directory"});
  const RunId run = world.drop("in", "a", "copy");
  world.loop.run_for(10s);
  ASSERT_EQ(world.lag("copy").dead, 1U);
  EXPECT_FALSE(world.row(run)->placed);
  const auto letters = world.wait(world.broker->dead_letters(work_topic("copy"), std::string(kWorkersGroup), "", 10));
  ASSERT_EQ(letters->size(), 1U);
  EXPECT_NE((*letters)[0].reason.find("cannot_place"), std::string::npos);

  (void)world.wait(world.broker->redrive(work_topic("copy"), std::string(kWorkersGroup), {}));
  world.loop.run_for(10s);
  EXPECT_EQ(world.executor.executions("copy"), 1);
  EXPECT_TRUE(world.row(run)->placed);
  EXPECT_EQ(world.storage.visible("out").size(), 1U);
}

TEST_P(Pipeline, ACancelledRunIsCommittedAsSuch) {
  World world(GetParam());
  world.executor.define("slow", 600s,
                        [&world](const ExecutionRequest& request, int) { return world.leave_copy(request); });
  world.apply(World::function("slow", "in", "out"));
  const RunId run = world.drop("in", "a", "slow");
  world.loop.run_for(2s);
  ASSERT_TRUE(world.runs.cancel(run));
  world.loop.run_for(2s);
  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::cancelled);
  EXPECT_EQ(world.lag("slow").open(), 0U);
  EXPECT_EQ(world.lag("slow").dead, 0U);
}

TEST_P(Pipeline, AQueuedRunCanBeCancelledBeforeItStarts) {
  World world(GetParam(), {.memory_bytes = 1ULL << 30, .cpu_millicores = 1000});
  world.executor.define("slow", 10s,
                        [&world](const ExecutionRequest& request, int) { return world.leave_copy(request); });
  world.apply(World::function("slow", "in", "out"));
  world.drop("in", "a", "slow");
  const RunId queued = world.drop("in", "b", "slow");
  ASSERT_TRUE(world.runs.cancel(queued));
  world.loop.run_for(60s);
  ASSERT_TRUE(world.row(queued));
  EXPECT_EQ(world.row(queued)->outcome, RunOutcome::cancelled);
  EXPECT_EQ(world.executor.executions("slow"), 1);
}

TEST_P(Pipeline, NoMoreRunsThanTheNodeHolds) {
  World world(GetParam(), {.memory_bytes = 1ULL << 30, .cpu_millicores = 3000});
  world.define_copy("copy");
  world.apply(World::function("copy", "in", "out"));
  for (int i = 0; i < 30; ++i) world.drop("in", "f" + std::to_string(i), "copy");
  world.loop.run_for(60s);
  EXPECT_EQ(world.executor.executions("copy"), 30);
  EXPECT_EQ(world.executor.running_max(), 3);
  EXPECT_EQ(world.storage.visible("out").size(), 30U);
}

TEST_P(Pipeline, AFloodForOneFunctionDoesNotStarveAnother) {
  World world(GetParam(), {.memory_bytes = 1ULL << 30, .cpu_millicores = 1000});
  world.define_copy("flood");
  world.define_copy("small");
  world.apply(World::function("flood", "many", "out-many"));
  world.apply(World::function("small", "few", "out-few"));
  for (int i = 0; i < 100; ++i) world.drop("many", "f" + std::to_string(i), "flood");
  world.drop("few", "one", "small");
  world.loop.run_for(1s);
  EXPECT_EQ(world.executor.executions("small"), 1);
  EXPECT_LT(world.executor.executions("flood"), 100);
}

TEST_P(Pipeline, AStopGivesRunningWorkBackAndCommitsNothingOfIt) {
  World world(GetParam());
  world.executor.define("slow", 600s,
                        [&world](const ExecutionRequest& request, int) { return world.leave_copy(request); });
  world.apply(World::function("slow", "in", "out"));
  const RunId run = world.drop("in", "a", "slow");
  world.loop.run_for(2s);
  world.group.spawn(world.workers.stop(1s));
  world.loop.run_for(10s);
  EXPECT_FALSE(world.row(run));
  EXPECT_EQ(world.lag("slow").in_flight, 0U);
  EXPECT_EQ(world.lag("slow").open(), 1U);
  EXPECT_EQ(world.storage.attempts(), 0U);
}

TEST_P(Pipeline, TheSweeperFinishesWhatACrashLeft) {
  World world(GetParam());
  world.define_copy("second");
  world.apply(World::function("second", "middle", "out"));
  // A committed row of a run whose worker died before placing.
  RunRecord row;
  row.run_id = RunId(identity_hash({"crashed"}));
  row.event_id = EventId(identity_hash({"event"}));
  row.function = "first";
  row.order = Order(world.ulids.make(world.loop.wall_now()));
  row.token = AttemptToken(std::string(32, 'a'));
  row.committed_at = world.loop.wall_now();
  world.storage.leave("middle/.millrace/" + row.run_id.str() + "/" + row.token.str(), "x");
  const AttemptPlace place{.bucket = "middle", .run_id = row.run_id, .token = row.token};
  (void)world.wait(world.storage.make_attempt(place));
  const auto sealed = world.wait(world.storage.seal(place, {}, output_rank(row.order, 0, row.event_id, row.run_id)));
  const auto& file = sealed->files.at(0);
  row.outputs.push_back({.name = "x",
                         .store = "local",
                         .bucket = "middle",
                         .key = "x",
                         .source_path = file.source_path,
                         .placed = file.placed,
                         .private_path = file.private_path,
                         .version = file.version,
                         .sha256 = file.sha256});
  (void)world.wait(world.state->runs().commit(row));

  world.group.spawn(world.sweeper.run(world.group.stop_token()));
  world.loop.run_for(600s);
  world.group.request_stop();
  world.loop.run_for(1s);
  EXPECT_TRUE(world.row(row.run_id)->placed);
  EXPECT_TRUE(world.row(row.run_id)->published);
  EXPECT_EQ(world.storage.visible("middle"), std::vector<std::string>{"x"});
  EXPECT_EQ(world.storage.visible("out"), std::vector<std::string>{"x"});
  EXPECT_EQ(world.executor.executions("second"), 1);
}

TEST_P(Pipeline, TheLaterOfTwoInputsKeepsTheOutputsName) {
  World world(GetParam());
  world.executor.define("same", 50ms, [&world](const ExecutionRequest& request, int) -> Result<Execution> {
    world.storage.leave(request.output_path, "out0001.jpg");
    return ended(AttemptOutcome::succeeded);
  });
  world.apply(World::function("same", "in", "out"));
  world.drop("in", "a", "same");
  const RunId later = world.drop("in", "b", "same");
  world.loop.run_for(30s);
  EXPECT_EQ(world.storage.owner("out", "out0001.jpg"), later);
}

TEST_P(Pipeline, AnEventThatCameThroughTooManyRunsIsStopped) {
  World world(GetParam());
  world.define_copy("copy");
  world.apply(World::function("copy", "in", "out"));
  Event event;
  event.source = "test";
  event.hops = kHopsMax + 1;
  const auto accepted = world.wait(world.ingest.invoke("copy", event));
  world.loop.run_for(10s);
  EXPECT_EQ(world.executor.executions("copy"), 0);
  EXPECT_EQ(world.row(accepted->runs[0].run_id)->outcome, RunOutcome::dead_lettered);
  EXPECT_EQ(world.lag("copy").dead, 1U);
}

TEST_P(Pipeline, AFunctionThatFeedsItselfIsRefused) {
  World world(GetParam());
  const auto applied = world.wait(world.registry.apply({World::function("loop", "a", "a/out")}));
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::invalid_argument);
  EXPECT_EQ(world.registry.find("loop"), nullptr);
}

TEST_P(Pipeline, OneLoopInADocumentKeepsAllOfItOut) {
  World world(GetParam());
  const auto applied =
      world.wait(world.registry.apply({World::function("a", "one", "two"), World::function("b", "two", "one")}));
  ASSERT_FALSE(applied);
  EXPECT_TRUE(world.registry.all().empty());
}

TEST_P(Pipeline, AFailureBecauseTheInputVanishedIsASkip) {
  World world(GetParam());
  world.executor.define("copy", 50ms, [&world](const ExecutionRequest&, int) -> Result<Execution> {
    world.storage.take_away("in", "a");
    return ended(AttemptOutcome::failed, "exit code 1", 1);
  });
  world.apply(World::function("copy", "in", "out"));
  const RunId run = world.drop("in", "a", "copy");
  world.loop.run_for(10s);
  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::skipped);
  EXPECT_EQ(world.lag("copy").dead, 0U);
}

TEST_P(Pipeline, AnInputThatVanishesWhileItIsAttachedIsASkip) {
  World world(GetParam());
  world.executor.define("copy", 50ms, [&world](const ExecutionRequest&, int) -> Result<Execution> {
    world.storage.take_away("in", "a");
    return fail(Errc::not_found, "input 'a' was removed while it was attached");
  });
  world.apply(World::function("copy", "in", "out"));
  const RunId run = world.drop("in", "a", "copy");
  world.loop.run_for(10s);
  ASSERT_TRUE(world.row(run));
  EXPECT_EQ(world.row(run)->outcome, RunOutcome::skipped);
}

}  // namespace
}  // namespace millrace
