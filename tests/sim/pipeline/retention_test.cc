// What retention removes, and what it must not: nothing that waits may find its input or its record gone.
#include "engine/retention.h"

#include <gtest/gtest.h>

#include "tests/sim/pipeline/world.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class RetentionSim : public testing::TestWithParam<std::uint64_t> {
 public:
  ~RetentionSim() override {
    stop_.request_stop();
    world_.loop.run_for(1s);
  }

 protected:
  RetentionSim() {
    world_.define_copy("first");
    world_.apply(World::function("first", "in", "middle"));
    world_.group.spawn(retention_.run(stop_.get_token()));
  }

  // `body` decides what becomes of the second function; on success it copies.
  void apply_second(std::function<Result<Execution>()> body) {
    world_.executor.define("second", 10ms, [this, body](const ExecutionRequest& request, int) -> Result<Execution> {
      auto execution = body();
      if (execution && execution->outcome == AttemptOutcome::succeeded) return world_.leave_copy(request);
      return execution;
    });
    FunctionSpec spec = World::function("second", "middle", "out");
    spec.retries = 0;
    spec.infrastructure_retry_for = 240h;
    world_.apply(spec);
  }
  // Of the one output of a run.
  ObjectRef private_copy(const RunId& run_id) {
    const OutputFile output = world_.row(run_id).value().outputs.at(0);
    return {.bucket = output.bucket, .key = output.key, .version = output.version, .private_path = output.private_path};
  }
  bool is_there(const ObjectRef& object) { return world_.wait(world_.storage.open(object)).has_value(); }
  std::size_t records() { return world_.wait(world_.state->runs().list(RunFilter()))->size(); }

  World world_{GetParam()};
  Retention retention_{world_.loop, *world_.state, world_.storage, *world_.broker,
                       world_.runs, {.keep = 2h},  world_.log,     world_.metrics};

 private:
  std::stop_source stop_;
};
INSTANTIATE_TEST_SUITE_P(Seeds, RetentionSim, testing::Range<std::uint64_t>(1, 4));

TEST_P(RetentionSim, APrivateCopyStaysForAnEventThatWaitsToReadIt) {
  bool well = false;
  apply_second([&well]() -> Result<Execution> {
    if (!well) return fail(Errc::unavailable, "no launcher");
    return ended(AttemptOutcome::succeeded);
  });
  const RunId first = world_.drop("in", "a", "first");
  world_.loop.run_for(5s);
  const ObjectRef copy = private_copy(first);
  world_.loop.run_for(6h);
  ASSERT_EQ(world_.lag("second").open(), 1U);
  ASSERT_TRUE(world_.row(first)) << "its age is three times what is kept";
  EXPECT_TRUE(is_there(copy));

  well = true;
  world_.loop.run_for(1h);
  EXPECT_EQ(world_.storage.visible("out"), std::vector<std::string>{"a"});
  EXPECT_EQ(records(), 1U) << "the first goes as soon as nobody waits";
  EXPECT_FALSE(is_there(copy));
  world_.loop.run_for(3h);
  EXPECT_EQ(records(), 0U);
  EXPECT_EQ(world_.storage.visible("middle"), std::vector<std::string>{"a"}) << "the user's file";
}

TEST_P(RetentionSim, ADeadLetterIsRedrivenOnItsInputHoweverLateThatIs) {
  bool well = false;
  apply_second([&well]() -> Result<Execution> {
    return well ? ended(AttemptOutcome::succeeded) : ended(AttemptOutcome::failed, "exit code 1", 1);
  });
  const RunId first = world_.drop("in", "a", "first");
  world_.loop.run_for(10s);
  ASSERT_EQ(world_.lag("second").dead, 1U);
  world_.loop.run_for(6h);
  EXPECT_EQ(records(), 2U);
  EXPECT_TRUE(is_there(private_copy(first)));

  well = true;
  ASSERT_TRUE(world_.wait(world_.broker->redrive(work_topic("second"), std::string(kWorkersGroup), {})));
  world_.loop.run_for(60s);
  EXPECT_EQ(world_.storage.visible("out"), std::vector<std::string>{"a"});
  EXPECT_EQ(world_.lag("second").dead, 0U);
  world_.loop.run_for(3h);
  EXPECT_EQ(records(), 0U);
}

TEST_P(RetentionSim, AnOldEventThatComesAgainFindsItsRecord) {
  apply_second([] { return ended(AttemptOutcome::succeeded); });
  const RunId first = world_.drop("in", "a", "first");
  world_.loop.run_for(10s);
  ASSERT_EQ(world_.executor.executions("first"), 1);
  // Published anew, as after a crash before it was noted: the broker has forgotten the id by then.
  world_.loop.run_for(100min);
  Event again;
  again.id = world_.row(first)->event_id;
  again.source = "/local/in";
  again.type = kObjectCreated;
  again.object = world_.row(first)->input;
  again.order = world_.row(first)->order;
  std::vector<Event> events{again};
  ASSERT_TRUE(world_.wait(world_.ingest.publish_again(world_.registry.find("first"), std::move(events))));
  world_.loop.run_for(10min);
  EXPECT_EQ(world_.executor.executions("first"), 1);
  EXPECT_EQ(world_.lag("first").open(), 0U);
}

}  // namespace
}  // namespace millrace
