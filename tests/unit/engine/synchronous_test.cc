#include "engine/synchronous.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

class SynchronousTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  SynchronousTest() {
    auto spec = EngineParts::function("f", {}, "out");
    spec.stage_in = false;  // no body file: nothing here needs a disk
    spec.cpu_millicores = 4000;
    rig_.apply(spec);
  }

  void define(std::chrono::milliseconds takes, FakeExecutor::Body body) {
    rig_.parts.executor.define("f", takes, std::move(body));
  }
  Result<Execution> answer(const ExecutionRequest& request, const std::string& result) {
    rig_.parts.storage.leave(request.output_path, "x");
    auto execution = ended(AttemptOutcome::succeeded);
    execution.result = result;
    return execution;
  }
  static Event event(const std::string& source_id = {}) {
    Event one;
    one.source = "/test";
    one.source_id = source_id;
    one.data = "hello";
    return one;
  }
  void start(std::optional<Result<RunRecord>>& answer, Event one, EventLoop::Duration hold = 30s,
             std::stop_token stop = {}) {
    rig_.group.spawn(keep_value(rig_.parts.calls.call("f", std::move(one), hold, std::move(stop)), answer));
    rig_.loop.run_for(1ms);
  }
  Result<RunRecord> call(Event one) { return rig_.wait(rig_.parts.calls.call("f", std::move(one), 30s, {})); }

  EngineRig rig_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Seeds, SynchronousTest, testing::Range<std::uint64_t>(1, 4));

TEST_P(SynchronousTest, TheCallerGetsTheRowWithStdoutAndTheOutputsArePlaced) {
  define(10ms, [this](const ExecutionRequest& request, int) {
    EXPECT_EQ(request.input_bytes, "hello");
    return answer(request, "world");
  });
  const auto record = call(event());
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->outcome, RunOutcome::succeeded);
  EXPECT_EQ(record->result, "world");
  EXPECT_EQ(rig_.parts.storage.visible("out"), std::vector<std::string>{"x"});
  EXPECT_TRUE(rig_.row(record->run_id)->placed);
  EXPECT_TRUE(rig_.row(record->run_id)->published);
  EXPECT_TRUE(rig_.parts.broker.published.empty()) << "no broker is in between";
  EXPECT_EQ(rig_.parts.runs.active_count(), 0U);
  EXPECT_EQ(rig_.parts.admission.free().cpu_millicores, 4000U);
}

TEST_P(SynchronousTest, TheRowSaysWhetherTheAnswerWasCut) {
  for (const auto outcome : {AttemptOutcome::succeeded, AttemptOutcome::failed}) {
    for (const bool cut : {true, false}) {
      define(10ms, [outcome, cut](const ExecutionRequest&, int) {
        auto execution = ended(outcome);
        execution.result = "1234";
        execution.result_truncated = cut;
        return execution;
      });
      const auto record = call(event());
      ASSERT_TRUE(record) << record.error().message;
      EXPECT_EQ(record->result_truncated, cut) << name_of(outcome);
      EXPECT_EQ(rig_.row(record->run_id)->result_truncated, cut) << name_of(outcome);
    }
  }
}

TEST_P(SynchronousTest, AnUnknownFunctionIsNotFound) {
  const auto record = rig_.wait(rig_.parts.calls.call("g", event(), 30s, {}));
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code, Errc::not_found);
}

TEST_P(SynchronousTest, AFailureIsTheAnswerAfterOneAttempt) {
  define(10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::failed, "exit code 3", 3); });
  const auto record = call(event());
  ASSERT_TRUE(record);
  EXPECT_EQ(record->outcome, RunOutcome::failed);
  EXPECT_EQ(record->exit_code, 3);
  EXPECT_EQ(record->reason, "exit code 3");
  EXPECT_EQ(record->failures, 1U);
  EXPECT_EQ(rig_.parts.executor.executions("f"), 1);
}

TEST_P(SynchronousTest, ALostAttemptIsAFailureOfTheCall) {
  define(10ms, [](const ExecutionRequest&, int) { return ended(AttemptOutcome::lost, "the launcher died"); });
  const auto record = call(event());
  ASSERT_TRUE(record);
  EXPECT_EQ(record->outcome, RunOutcome::failed);
  EXPECT_EQ(record->reason, "the launcher died");
}

TEST_P(SynchronousTest, TheSameIdAgainGivesTheRowThatStands) {
  define(10ms, [this](const ExecutionRequest& request, int nth) { return answer(request, std::to_string(nth)); });
  const auto first = call(event("key-1"));
  const auto again = call(event("key-1"));
  const auto other = call(event("key-2"));
  ASSERT_TRUE(first && again && other);
  EXPECT_EQ(again->run_id, first->run_id);
  EXPECT_EQ(again->result, "1");
  EXPECT_NE(other->run_id, first->run_id);
  EXPECT_EQ(rig_.parts.executor.executions("f"), 2);
}

TEST_P(SynchronousTest, WithoutAnIdEveryCallRuns) {
  define(10ms, [this](const ExecutionRequest& request, int nth) { return answer(request, std::to_string(nth)); });
  EXPECT_EQ(call(event())->result, "1");
  EXPECT_EQ(call(event())->result, "2");
}

TEST_P(SynchronousTest, TheSameIdWhileItRunsIsRefused) {
  define(10s, [this](const ExecutionRequest& request, int) { return answer(request, "1"); });
  std::optional<Result<RunRecord>> first;
  std::optional<Result<RunRecord>> second;
  start(first, event("key"));
  start(second, event("key"));
  ASSERT_TRUE(second);
  ASSERT_FALSE(*second);
  EXPECT_EQ(second->error().code, Errc::already_exists);
  rig_.loop.run_for(20s);
  ASSERT_TRUE(first);
  EXPECT_TRUE(*first);
}

TEST_P(SynchronousTest, WithoutASlotWithinHoldTheNodeIsBusy) {
  define(60s, [this](const ExecutionRequest& request, int) { return answer(request, "1"); });
  std::optional<Result<RunRecord>> first;
  std::optional<Result<RunRecord>> second;
  start(first, event());
  start(second, event(), 5s);
  rig_.loop.run_for(5s);
  ASSERT_TRUE(second);
  ASSERT_FALSE(*second);
  EXPECT_EQ(second->error().code, Errc::resource_exhausted);
  EXPECT_EQ(rig_.parts.runs.active_count(), 1U) << "nothing is left of the call that gave up";
  rig_.loop.run_for(60s);
  EXPECT_TRUE(first && *first);
}

TEST_P(SynchronousTest, ACallerWhoLeavesCancelsTheRun) {
  define(60s, [this](const ExecutionRequest& request, int) { return answer(request, "1"); });
  std::stop_source left;
  std::optional<Result<RunRecord>> first;
  start(first, event(), 30s, left.get_token());
  rig_.loop.run_for(1s);
  left.request_stop();
  rig_.loop.run_for(1s);
  ASSERT_TRUE(first && *first);
  EXPECT_EQ((*first)->outcome, RunOutcome::cancelled);
  EXPECT_EQ(rig_.parts.admission.free().cpu_millicores, 4000U);
}

TEST_P(SynchronousTest, ACallerWhoLeavesWhileWaitingLeavesNoTrace) {
  define(60s, [this](const ExecutionRequest& request, int) { return answer(request, "1"); });
  std::optional<Result<RunRecord>> first;
  std::optional<Result<RunRecord>> second;
  std::stop_source left;
  start(first, event());
  start(second, event("key"), 30s, left.get_token());
  left.request_stop();
  rig_.loop.run_for(1s);
  ASSERT_TRUE(second);
  ASSERT_FALSE(*second);
  EXPECT_EQ(second->error().code, Errc::cancelled);
  EXPECT_EQ(rig_.parts.runs.active_count(), 1U);
  EXPECT_EQ(rig_.parts.state.calls(StateCall::commit), 0);
}

TEST_P(SynchronousTest, AUserCanCancelACallLikeAnyRun) {
  define(60s, [this](const ExecutionRequest& request, int) { return answer(request, "1"); });
  std::optional<Result<RunRecord>> first;
  start(first, event());
  rig_.loop.run_for(1s);
  const auto running = rig_.parts.runs.list("f", 10);
  ASSERT_EQ(running.size(), 1U);
  EXPECT_EQ(running[0].state, RunState::running);
  EXPECT_TRUE(rig_.parts.runs.cancel(running[0].run_id));
  rig_.loop.run_for(1s);
  ASSERT_TRUE(first && *first);
  EXPECT_EQ((*first)->outcome, RunOutcome::cancelled);
}

TEST_P(SynchronousTest, OurOwnTroubleIsTheErrorAndCommitsNothing) {
  define(10ms,
         [](const ExecutionRequest&, int) -> Result<Execution> { return fail(Errc::unavailable, "no launcher"); });
  const auto record = call(event());
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code, Errc::unavailable);
  EXPECT_EQ(rig_.parts.state.calls(StateCall::commit), 0);
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
  EXPECT_EQ(rig_.parts.admission.free().cpu_millicores, 4000U);
}

TEST_P(SynchronousTest, AStateStoreThatIsAwayIsTheError) {
  rig_.parts.state.fail_next(StateCall::get_run, {.code = Errc::unavailable, .message = "locked"});
  const auto record = call(event());
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code, Errc::unavailable);
  EXPECT_EQ(rig_.parts.runs.active_count(), 0U);
}

TEST_P(SynchronousTest, AnOutputThatCannotBePlacedIsSaidWithTheResult) {
  define(10ms, [this](const ExecutionRequest& request, int) { return answer(request, "world"); });
  rig_.parts.storage.fail_placing(1, {.code = Errc::failed_precondition, .message = "out/x is a directory"});
  const auto record = call(event());
  ASSERT_TRUE(record);
  EXPECT_EQ(record->outcome, RunOutcome::succeeded);
  EXPECT_EQ(record->result, "world");
  EXPECT_EQ(record->reason, "cannot_place: out/x is a directory");
}

TEST_P(SynchronousTest, AnOutputThatIsPlacedLaterIsNoReason) {
  define(10ms, [this](const ExecutionRequest& request, int) { return answer(request, "world"); });
  rig_.parts.storage.fail_placing(1, {.code = Errc::no_space, .message = "full"});
  const auto record = call(event());
  ASSERT_TRUE(record);
  EXPECT_TRUE(record->reason.empty()) << record->reason;
  EXPECT_FALSE(rig_.row(record->run_id)->placed) << "the sweeper goes on with it";
}

}  // namespace
}  // namespace millrace
