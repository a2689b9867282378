// How long a delivery is tried again, and what is known of it meanwhile.
#include <gtest/gtest.h>

#include "consumers/delivery_handler.h"
#include "tests/support/engine_rig.h"

namespace millrace {
namespace {
using namespace std::chrono_literals;
using Verdicts = std::vector<std::string>;
const Error kAway{.code = Errc::unavailable, .message = "away"};

class DeliveryPatience : public testing::Test {
 protected:
  DeliveryPatience() {
    spec_ = EngineParts::function("f", "in", "out");
    rig_.parts.executor.define("f", 10ms, [this](const ExecutionRequest& request, int) -> Result<Execution> {
      rig_.parts.storage.leave(request.output_path, "x");
      return ended(AttemptOutcome::succeeded);
    });
    event_.object = rig_.parts.storage.put("in", "a");
    event_.id = object_event_id(*event_.object);
    report_->published_at = rig_.loop.wall_now();
  }
  void settle() {
    if (!function_) function_ = rig_.apply(spec_);
    rig_.group.spawn(handler_.handle(function_, work_topic(function_->name),
                                     std::make_unique<FakeDelivery>(rig_.loop, event_, report_), {}));
    rig_.loop.run_for(60s);
  }
  RunId run_id() {
    if (!function_) function_ = rig_.apply(spec_);
    return make_run_id(function_->uid, event_.id, 0);
  }
  void next() {
    auto fresh = std::make_shared<DeliveryReport>();
    fresh->published_at = report_->published_at;
    report_ = fresh;
  }
  EngineRig rig_;
  FunctionSpec spec_;
  std::shared_ptr<const FunctionSpec> function_;
  Event event_;
  std::shared_ptr<DeliveryReport> report_ = std::make_shared<DeliveryReport>();
  DeliveryHandler handler_{rig_.loop,        rig_.parts.admission, rig_.parts.invoker, rig_.parts.finish,
                           rig_.parts.state, rig_.parts.runs,      {.hold = 5s},       rig_.parts.log};
};

TEST_F(DeliveryPatience, WithoutDeadLettersTooManyLossesAreOnlyRecorded) {
  spec_.dead_letter = false;
  spec_.max_losses = 1;
  report_->counters.losses = 1;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
  EXPECT_EQ(rig_.row(run_id())->outcome, RunOutcome::failed);
}

TEST_F(DeliveryPatience, WithoutDeadLettersTheHopLimitIsOnlyRecorded) {
  spec_.dead_letter = false;
  event_.hops = kHopsMax + 1;
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"ack"});
}

TEST_F(DeliveryPatience, AnEventThatQueuedForADayIsRetriedAtItsFirstTrouble) {
  rig_.parts.executor.define("f", 1ms, [](const ExecutionRequest&, int) -> Result<Execution> { return fail(kAway); });
  rig_.loop.run_for(25h);
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"nak infrastructure"}) << report_->reason;
}

TEST_F(DeliveryPatience, TroubleThatLastsLongerThanTheFunctionAllowsEndsInADeadLetter) {
  rig_.parts.executor.define("f", 1ms, [](const ExecutionRequest&, int) -> Result<Execution> { return fail(kAway); });
  settle();
  ASSERT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  rig_.loop.run_for(25h);
  next();
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
}

TEST_F(DeliveryPatience, PlacingIsNotRetriedForEver) {
  rig_.parts.storage.fail_placing(1000, {.code = Errc::no_space, .message = "full"});
  settle();
  ASSERT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
  rig_.loop.run_for(25h);
  next();
  settle();
  EXPECT_EQ(report_->verdicts, Verdicts{"term"});
}

TEST_F(DeliveryPatience, ACancelOfAQueuedRunSurvivesAStateStoreThatIsAway) {
  for (const auto call : {StateCall::get_run, StateCall::commit}) {
    event_.object = rig_.parts.storage.put("in", "k" + std::to_string(static_cast<int>(call)));
    event_.id = object_event_id(*event_.object);
    LiveRun queued;
    queued.run_id = run_id();
    rig_.parts.runs.queued(queued);
    ASSERT_TRUE(rig_.parts.runs.cancel(run_id()));  // the user got 202
    rig_.parts.state.fail_next(call, kAway);
    next();
    report_->redrives = 1;  // only a redrive reads the row before it begins
    settle();
    ASSERT_EQ(report_->verdicts, Verdicts{"nak infrastructure"});
    EXPECT_TRUE(rig_.parts.runs.find(run_id())) << "a waiting run can be looked up and cancelled";
    next();
    settle();
    ASSERT_TRUE(rig_.row(run_id()));
    EXPECT_EQ(rig_.row(run_id())->outcome, RunOutcome::cancelled);
  }
}

TEST_F(DeliveryPatience, ARunWhoseBeginFailedIsStillKnown) {
  report_->begin_error = kAway;
  settle();
  EXPECT_TRUE(rig_.parts.runs.find(run_id()));
}

}  // namespace
}  // namespace millrace
