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

}  // namespace
}  // namespace millrace
