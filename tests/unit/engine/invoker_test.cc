#include "engine/invoker.h"

#include <gtest/gtest.h>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {
using namespace std::chrono_literals;

TEST(Invoker, OutputsThatCannotBeSealedLeaveNoDirectory) {
  EngineRig rig;
  auto spec = EngineParts::function("f", {}, "out");
  spec.stage_in = false;
  rig.parts.executor.define("f", 1ms, [&](const ExecutionRequest& request, int) -> Result<Execution> {
    rig.parts.storage.leave(request.output_path, "x");
    return ended(AttemptOutcome::succeeded);
  });
  rig.apply(spec);
  rig.parts.storage.fail_next(StorageCall::seal, 1, {.code = Errc::no_space, .message = "disk full"});
  const auto record = rig.wait(rig.parts.calls.call("f", {}, 5s, {}));
  ASSERT_FALSE(record);
  EXPECT_EQ(rig.parts.storage.attempts(), 0U) << "the retry needs the space; the sweeper comes in minutes";
}

TEST(Invoker, ARowThatAFullDiskRefusesLeavesNoDirectory) {
  for (const auto outcome : {AttemptOutcome::succeeded, AttemptOutcome::failed}) {
    SCOPED_TRACE(name_of(outcome));
    EngineRig rig;
    auto spec = EngineParts::function("f", {}, "out");
    spec.stage_in = false;
    rig.parts.executor.define("f", 1ms, [&](const ExecutionRequest& request, int) -> Result<Execution> {
      rig.parts.storage.leave(request.output_path, "x");
      return ended(outcome);
    });
    rig.apply(spec);
    const bool good = outcome == AttemptOutcome::succeeded;
    rig.parts.state.fail_next(good ? StateCall::commit : StateCall::end_attempt,
                              {.code = Errc::no_space, .message = "database or disk is full"});
    const auto record = rig.wait(rig.parts.calls.call("f", {}, 5s, {}));
    ASSERT_FALSE(record);
    EXPECT_EQ(rig.parts.storage.attempts(), 0U) << "no row could be written before its files are gone";
  }
}

}  // namespace
}  // namespace millrace
