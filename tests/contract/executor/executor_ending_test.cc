// However a function ends, its whole tree ends with it, and the reason told is the true one.
#include <unistd.h>

#include <thread>

#include "tests/contract/executor/executor_fixture.h"

namespace millrace::test {
namespace {

class ExecutorEnding : public ExecutorContract {
 protected:
  // A `sleep` that no other test starts, so that it can be looked for on the whole machine.
  std::string mark_ = "9" + std::to_string(::getpid()) + ".25";
};

INSTANTIATE_TEST_SUITE_P(Executors, ExecutorEnding, testing::ValuesIn(kBackends), name_of_backend);

TEST_P(ExecutorEnding, TimeoutEndsTheWholeTree) {
  FunctionSpec function = spec("echo started; trap '' TERM; setsid sh -c 'setsid sleep " + mark_ + " & wait' & sleep " +
                               mark_ + " & wait; wait; sleep 3600");
  function.timeout = std::chrono::seconds(2);
  function.grace = std::chrono::milliseconds(100);
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::timed_out) << describe(execution);
  EXPECT_EQ(execution->message, "ran longer than 2s");
  EXPECT_EQ(execution->result, "started\n");
  EXPECT_FALSE(process_exists(mark_));
}

TEST_P(ExecutorEnding, TimeoutAsksBeforeItKills) {
  FunctionSpec function =
      spec("trap 'echo bye; echo saved > \"$TMP_OUTPUT_DIR/state\"; exit 0' TERM; sleep 3600 & wait");
  function.timeout = std::chrono::milliseconds(1500);
  function.grace = std::chrono::seconds(30);
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::timed_out) << describe(execution);
  EXPECT_EQ(execution->exit_code, 0);
  EXPECT_EQ(execution->result, "bye\n");
  EXPECT_EQ(read_file(outputs() + "/state"), "saved\n");
}

TEST_P(ExecutorEnding, CancelEndsTheWholeTree) {
  std::stop_source stop;
  FunctionSpec function = spec("sleep " + mark_ + " & touch \"$TMP_OUTPUT_DIR/started\"; wait; sleep 3600");
  function.grace = std::chrono::milliseconds(50);
  const auto action = [this, &stop] {
    while (!process_exists(mark_)) std::this_thread::yield();  // else looking for it later would prove nothing
    stop.request_stop();
  };
  const auto execution = run_and_meanwhile(request(std::move(function)), action, stop.get_token());
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::cancelled) << describe(execution);
  EXPECT_FALSE(process_exists(mark_));
}

TEST_P(ExecutorEnding, CancelBeforeTheStartEndsItToo) {
  std::stop_source stop;
  stop.request_stop();
  FunctionSpec function = spec("sleep 3600");
  function.grace = std::chrono::milliseconds(0);
  const auto execution = run(request(std::move(function)), stop.get_token());
  if (execution) {
    EXPECT_EQ(execution->outcome, AttemptOutcome::cancelled) << describe(execution);
  } else {
    EXPECT_EQ(execution.error().code, Errc::cancelled) << describe(execution);
  }
}

TEST_P(ExecutorEnding, ADaemonisedGrandchildHoldsNothing) {
  const auto execution = run(spec("(setsid sh -c 'sleep " + mark_ + "' &) ; echo left; exit 0"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded) << describe(execution);
  EXPECT_EQ(execution->result, "left\n");
  EXPECT_FALSE(process_exists(mark_));
}

// Each becomes a child of the run's first process, or of whoever adopts orphans.
TEST_P(ExecutorEnding, AThousandOrphansGoWithTheRun) {
  if (!has(launcher::Control::pids)) GTEST_SKIP() << "no pids controller on this host";
  FunctionSpec function = spec(
      "#!/usr/bin/perl\n$SIG{ALRM} = 'DEFAULT'; alarm 60;\nfor (1..1000) { my $c = fork; die \"fork: $!\" unless "
      "defined $c;\n"
      "  if (!$c) { fork or exit 0; exit 0 } waitpid $c, 0 }\nexec 'sleep', '" +
      mark_ + "' unless fork; print 'left';\n");
  function.limits.pids = 1500;
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded) << describe(execution);
  EXPECT_EQ(execution->result, "left");
  EXPECT_FALSE(process_exists(mark_));
}

TEST_P(ExecutorEnding, TellsOutOfMemory) {
  if (!has(launcher::Control::memory)) GTEST_SKIP() << "no memory controller on this host";
  FunctionSpec function = spec("head -c 300000000 /dev/zero | tail -c 250000000 | wc -c");
  function.memory_bytes = 64 << 20;
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::out_of_memory) << describe(execution);
  EXPECT_EQ(execution->message, "out of memory: limit 64Mi");
}

TEST_P(ExecutorEnding, DoesNotTakeACodeForOutOfMemory) {
  const auto execution = run(spec("exit 137"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::failed);
  EXPECT_EQ(execution->exit_code, 137);
  EXPECT_EQ(execution->message, "exit code 137");
}

TEST_P(ExecutorEnding, LimitsTheNumberOfProcesses) {
  if (!has(launcher::Control::pids)) GTEST_SKIP() << "no pids controller on this host";
  FunctionSpec function = spec("i=0; while [ $i -lt 60 ]; do sleep " + mark_ + " & i=$((i+1)); done; echo all");
  function.limits.pids = 20;
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::failed) << describe(execution);
  EXPECT_FALSE(process_exists(mark_));
}

TEST_P(ExecutorEnding, SurvivesAForkBomb) {
  if (!has(launcher::Control::pids)) GTEST_SKIP() << "no pids controller on this host";
  FunctionSpec function = spec("b() { b | b & }; b; sleep " + mark_);
  function.limits.pids = 50;
  function.timeout = std::chrono::seconds(1);
  function.grace = std::chrono::milliseconds(100);
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_NE(execution->outcome, AttemptOutcome::lost) << describe(execution);
  const auto after = run(spec("echo fine"));
  ASSERT_TRUE(after) << describe(after);
  EXPECT_EQ(after->result, "fine\n");
  EXPECT_FALSE(process_exists(mark_));
}

}  // namespace
}  // namespace millrace::test
