// Files in and out.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "tests/contract/executor/executor_fixture.h"
#include "tests/support/run_task.h"

namespace millrace::test {
namespace {

class ExecutorFiles : public ExecutorContract {};

INSTANTIATE_TEST_SUITE_P(Executors, ExecutorFiles, testing::ValuesIn(kBackends), name_of_backend);

TEST_P(ExecutorFiles, ShowsTheInputByItsName) {
  for (const std::string name : {"plain.txt", "with space.txt", "line\nbreak", "größe-文件.jpg", "-rf", "a'b\"c$d`e"}) {
    const auto execution =
        run(request(spec("cat \"$INPUT_FILE_PATH\"; test \"$INPUT_FILE_PATH\" = \"$TMP_INPUT_DIR/$FILE_NAME\""),
                    {{.name = name, .content = "content of " + name}}));
    ASSERT_TRUE(execution) << name << ": " << describe(execution);
    EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded) << name << ": " << describe(execution);
    EXPECT_EQ(execution->result, "content of " + name);
  }
}

TEST_P(ExecutorFiles, ShowsEveryInput) {
  const auto execution = run(
      request(spec("cd \"$TMP_INPUT_DIR\" && cat one two three"),
              {{.name = "one", .content = "1"}, {.name = "two", .content = "2"}, {.name = "three", .content = "3"}}));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->result, "123");
}

TEST_P(ExecutorFiles, ShowsAnInputWithoutAName) {
  auto what = request(spec("cat \"$INPUT_FILE_PATH\""));
  Fd file(::memfd_create("streamed", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "streamed", 8), 8);
  what.inputs.push_back({.name = "event-file", .fd = std::move(file), .host_path = ""});
  const auto execution = run(std::move(what));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->result, "streamed");
}

TEST_P(ExecutorFiles, KeepsTheInputFromBeingWrittenInAContainer) {
  if (!is_container()) GTEST_SKIP() << "the kind process does not isolate";
  auto what = request(spec("echo changed > \"$INPUT_FILE_PATH\" || chmod 0777 \"$INPUT_FILE_PATH\""),
                      {{.name = "a", .content = "original"}});
  const std::string path = what.inputs.front().host_path;
  const auto execution = run(std::move(what));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::failed) << describe(execution);
  EXPECT_EQ(read_file(path), "original");
}

TEST_P(ExecutorFiles, LeavesOutputsThatBelongToTheDaemon) {
  const auto execution = run(spec("mkdir \"$TMP_OUTPUT_DIR/sub\"; printf result > \"$TMP_OUTPUT_DIR/sub/file\""));
  ASSERT_TRUE(execution) << describe(execution);
  ASSERT_EQ(execution->outcome, AttemptOutcome::succeeded) << describe(execution);
  EXPECT_EQ(read_file(outputs() + "/sub/file"), "result");
  struct stat status{};
  ASSERT_EQ(::stat((outputs() + "/sub/file").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, kDaemonUid);
  EXPECT_EQ(status.st_gid, kDaemonUid);
}

TEST_P(ExecutorFiles, GivesAPlaceForOutputsThatNobodyWants) {
  auto what = request(spec("echo x > \"$TMP_OUTPUT_DIR/file\" && cat \"$TMP_OUTPUT_DIR/file\""));
  what.output_directory.reset();
  what.output_path.clear();
  const auto execution = run(std::move(what));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->result, "x\n") << describe(execution);
  EXPECT_EQ(execution->usage.output_bytes, 0U);
}

TEST_P(ExecutorFiles, FollowsNoLinkAmongTheOutputs) {
  const auto execution =
      run(spec("ln -s / \"$TMP_OUTPUT_DIR/root\"; ln -s /etc/passwd \"$TMP_OUTPUT_DIR/file\"; "
               "ln -s . \"$TMP_OUTPUT_DIR/loop\"; printf abc > \"$TMP_OUTPUT_DIR/real\"; exit 1"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::failed) << describe(execution);
  // What the one file occupies: a block or so, and nothing of what the links lead to.
  EXPECT_GE(execution->usage.output_bytes, 3U);
  EXPECT_LE(execution->usage.output_bytes, 64U << 10);
}

TEST_P(ExecutorFiles, StopsAFileThatGrowsTooLarge) {
  FunctionSpec function = spec("head -c 3000000 /dev/zero > \"$TMP_OUTPUT_DIR/big\"");
  function.limits.output_bytes = 1'000'000;
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::output_too_large) << describe(execution);
  EXPECT_LE(std::filesystem::file_size(outputs() + "/big"), 1'000'001U);
}

TEST_P(ExecutorFiles, StopsAFunctionWhoseFilesAreTooLargeTogether) {
  // It would sleep for an hour, and ignores SIGTERM: only the limit ends it.
  FunctionSpec function =
      spec("trap '' TERM; for i in 1 2 3 4; do head -c 400000 /dev/zero > \"$TMP_OUTPUT_DIR/$i\"; done; sleep 3600");
  function.limits.output_bytes = 1'000'000;
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::output_too_large) << describe(execution);
  EXPECT_NE(execution->message.find("outputs larger than"), std::string::npos) << execution->message;
}

TEST_P(ExecutorFiles, StopsAFunctionThatMakesTooManyFiles) {
  FunctionSpec function =
      spec("cd \"$TMP_OUTPUT_DIR\"; i=0; while [ $i -lt 50 ]; do : > f$i; i=$((i+1)); done; sleep 3600");
  function.limits.output_files = 20;
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::output_too_large) << describe(execution);
  EXPECT_EQ(execution->message, "more than 20 output files (limits.output_files)");
}

TEST_P(ExecutorFiles, RemovesEvenWhatTheFunctionLocked) {
  if (is_container()) GTEST_SKIP() << "scratch is memory there";
  const auto execution = run(spec("mkdir -p a/b; : > a/b/c; chmod 0 a/b; chmod 0500 a; pwd"));
  ASSERT_TRUE(execution) << describe(execution);
  ASSERT_EQ(execution->outcome, AttemptOutcome::succeeded) << describe(execution);
  EXPECT_TRUE(std::filesystem::is_empty(directory_->path() + "/scratch"));
}

TEST_P(ExecutorFiles, TellsQuietFilesFromThoseBeingWritten) {
  if (!has(launcher::Control::read_leases)) GTEST_SKIP() << "no leases on this host";
  const std::string path = *directory_ / "watched";
  Fd writer(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  const auto check = [this, &path] {
    return run_task(*loop_, client_->check(Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC))));
  };
  const auto busy = check();
  ASSERT_TRUE(busy) << busy.error().message;
  EXPECT_EQ(*busy, WriteState::open_for_writing);
  writer.reset();
  const auto quiet = check();
  ASSERT_TRUE(quiet) << quiet.error().message;
  EXPECT_EQ(*quiet, WriteState::quiet);
}

}  // namespace
}  // namespace millrace::test
