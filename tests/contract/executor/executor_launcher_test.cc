// What the death of the launcher means, and what a long life leaves behind.
#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/contract/executor/executor_fixture.h"
#include "tests/support/run_task.h"

namespace millrace::test {
namespace {

class ExecutorLauncher : public ExecutorContract {
 protected:
  [[nodiscard]] static std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }
  // A thread may be about to close the directory of the run that has just been told of.
  [[nodiscard]] static bool falls_to(std::size_t most) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (open_descriptors() > most && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    return open_descriptors() <= most;
  }
};

INSTANTIATE_TEST_SUITE_P(Executors, ExecutorLauncher, testing::ValuesIn(kBackends), name_of_backend);

TEST_P(ExecutorLauncher, ALauncherKilledMeanwhileLosesTheRunAndTheNextOneServes) {
  const auto function = spec("touch \"$TMP_OUTPUT_DIR/started\"; sleep 3600");
  const auto execution = run_and_meanwhile(request(function), [this] { launcher_->kill(); });
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::lost) << describe(execution);
  EXPECT_NE(execution->message, "");

  const auto without = run(request(function));
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, Errc::unavailable);

  start_launcher();
  const auto after = run(spec("echo again"));
  ASSERT_TRUE(after) << describe(after);
  EXPECT_EQ(after->result, "again\n");
}

TEST_P(ExecutorLauncher, AnotherSocketToTheSameLauncherServes) {
  ASSERT_TRUE(run(spec("true")));
  client_->connect(launcher_->renew_socket());
  const auto execution = run(spec("echo again"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->result, "again\n");
}

TEST_P(ExecutorLauncher, AForgottenRevisionCanComeBack) {
  const auto function = spec("echo here");
  ASSERT_TRUE(run(function));
  executor_->forget(function.uid, function.revision);
  const auto execution = run(function);
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->result, "here\n");
}

TEST_P(ExecutorLauncher, ManyRunsLeaveNoDescriptorBehind) {
  const auto function = spec("#!/bin/sh\ncat \"$INPUT_FILE_PATH\"; exit 1\n");
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(run(request(function, {{.name = "a", .content = "b"}})));
  const std::size_t ours = open_descriptors();
  const std::size_t theirs = launcher_->open_descriptors();
  // A start by another runtime takes as long as fifty of ours.
  const int runs = GetParam().kind == ExecutorKind::oci ? 20 : 200;
  for (int i = 0; i < runs; ++i) {
    const auto execution = run(request(function, {{.name = "a", .content = "b"}}));
    ASSERT_TRUE(execution) << describe(execution);
    ASSERT_EQ(execution->result, "b");
  }
  EXPECT_TRUE(falls_to(ours)) << open_descriptors() << " > " << ours;
  // It keeps some cgroups ready for the next runs, how many depends on how fast they came.
  EXPECT_LT(launcher_->open_descriptors(), theirs + 100);
}

}  // namespace
}  // namespace millrace::test
