// What a function finds and what is told of it: codes, streams, environment.
#include "tests/contract/executor/executor_fixture.h"
#include "tests/support/run_task.h"

namespace millrace::test {
namespace {

using launcher::Control;

INSTANTIATE_TEST_SUITE_P(Executors, ExecutorContract, testing::ValuesIn(kBackends), name_of_backend);

TEST_P(ExecutorContract, TellsSuccess) {
  const auto execution = run(spec("#!/bin/sh\necho done\n"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded) << describe(execution);
  EXPECT_EQ(execution->exit_code, 0);
  EXPECT_EQ(execution->message, "");
  EXPECT_EQ(execution->result, "done\n");
  EXPECT_GT(execution->usage.wall_us, 0U);
  EXPECT_GT(execution->usage.start_us, 0U);
}

TEST_P(ExecutorContract, TellsHowLongTheFunctionRan) {
  const auto execution = run(spec("#!/bin/sh\nsleep 0.2\n"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_GE(execution->usage.wall_us, 190'000U);
}

TEST_P(ExecutorContract, TellsTheExitCode) {
  const auto execution = run(spec("exit 3"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::failed);
  EXPECT_EQ(execution->exit_code, 3);
  EXPECT_EQ(execution->message, "exit code 3");
}

TEST_P(ExecutorContract, TellsTheSignal) {
  const auto execution = run(spec("#!/bin/sh\nexec perl -e 'print unpack(\"p\", pack(\"J\", 1))'\n"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::failed) << describe(execution);
  EXPECT_EQ(execution->signal, 11);
  EXPECT_EQ(execution->message, "killed by signal 11 (SIGSEGV)");
}

TEST_P(ExecutorContract, HandsTheEventToStdin) {
  auto what = request(spec("#!/bin/sh\nexec cat\n"));
  for (int i = 0; i < 100'000; ++i) what.input_bytes += std::to_string(i) + "\n";
  const std::string sent = what.input_bytes;
  const auto execution = run(std::move(what));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded);
  EXPECT_TRUE(execution->result == sent);
  EXPECT_FALSE(execution->result_truncated);
}

TEST_P(ExecutorContract, ForgivesAFunctionThatDoesNotReadItsEvent) {
  auto what = request(spec("exec <&-; exit 0"));
  what.input_bytes.assign(1 << 20, 'x');
  const auto execution = run(std::move(what));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded);
}

TEST_P(ExecutorContract, KeepsStdoutAsResultAndBothAsLog) {
  const auto execution = run(spec("echo one; sleep 0.05; echo two >&2; sleep 0.05; echo three"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->result, "one\nthree\n");
  EXPECT_EQ(execution->log_tail, "one\ntwo\nthree\n");
  EXPECT_EQ(execution->log_bytes, 14U);
}

TEST_P(ExecutorContract, ShowsTheLogWhileTheFunctionRuns) {
  std::string shown;
  std::stop_source stop;
  auto what = request(spec("echo one; echo two >&2; sleep 1000"));
  what.on_log = [&](std::string_view bytes) {
    shown += bytes;
    if (shown.find("one\n") != std::string::npos && shown.find("two\n") != std::string::npos) stop.request_stop();
  };
  const auto execution = run(std::move(what), stop.get_token());
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::cancelled);
  EXPECT_EQ(execution->log_tail.size(), shown.size());
}

TEST_P(ExecutorContract, LimitsLogAndResultWithoutStoppingTheFunction) {
  FunctionSpec function = spec("echo begin; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo end; echo ok >&2");
  function.limits.log_bytes = 1000;
  function.limits.result_bytes = 10;
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded);
  EXPECT_EQ(execution->log_bytes, 50'000'014U);
  EXPECT_EQ(execution->result, "begin\nxxxx");
  EXPECT_TRUE(execution->result_truncated);
  EXPECT_LT(execution->log_tail.size(), 1200U);
  EXPECT_TRUE(execution->log_tail.starts_with("begin\nxxx")) << execution->log_tail;
  EXPECT_NE(execution->log_tail.find("bytes of stdout dropped"), std::string::npos) << execution->log_tail;
  EXPECT_NE(execution->log_tail.find("\nend\n"), std::string::npos) << execution->log_tail;
  EXPECT_NE(execution->log_tail.find("ok\n"), std::string::npos) << execution->log_tail;
}

TEST_P(ExecutorContract, GivesTheEnvironmentOfTheContract) {
  auto what = request(spec("#!/bin/sh\nexec env\n"), {{.name = "a.txt", .content = "hello"}});
  what.environment = {{"GREETING", "line one\nline two"}, {"HOME", "/own"}, {"TMP_OUTPUT_DIR", "/wrong"}};
  const std::string output_path = is_container() ? "/tmp/out" : what.output_path;
  const auto execution = run(std::move(what));
  ASSERT_TRUE(execution) << describe(execution);
  const std::string& seen = "\n" + execution->result;
  EXPECT_NE(seen.find("\nGREETING=line one\nline two\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("\nHOME=/own\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("\nTMP_OUTPUT_DIR=" + output_path + "\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("\nFILE_NAME=a.txt\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("\nPATH=/usr/local/sbin:"), std::string::npos) << seen;
  EXPECT_NE(seen.find("\nSCRIPT=/"), std::string::npos) << seen;
}

TEST_P(ExecutorContract, StartsInAWritableDirectoryThatNobodySharesOrKeeps) {
  const auto first = run(spec("set -e; test -z \"$(ls -A | grep -v '^in$\\|^out$')\"; echo x > here; cat here; pwd"));
  ASSERT_TRUE(first) << describe(first);
  EXPECT_EQ(first->outcome, AttemptOutcome::succeeded) << describe(first);
  const auto second = run(spec("test ! -e here && test -d \"$TMP_INPUT_DIR\" && touch \"$HOME/a\" \"$TMPDIR/b\""));
  ASSERT_TRUE(second) << describe(second);
  EXPECT_EQ(second->outcome, AttemptOutcome::succeeded) << describe(second);
}

TEST_P(ExecutorContract, RunsAScriptWithoutShebangByTheShell) {
  const auto execution = run(spec("echo $((6 * 7))"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->result, "42\n");
}

TEST_P(ExecutorContract, NamesAnInterpreterThatDoesNotExist) {
  const auto execution = run(spec("#!/usr/bin/pythn -u\nprint(1)\n"));
  ASSERT_FALSE(execution);
  EXPECT_EQ(execution.error().code, Errc::invalid_argument);
  EXPECT_NE(execution.error().message.find("interpreter '/usr/bin/pythn' of the script does not exist"),
            std::string::npos)
      << execution.error().message;
}

TEST_P(ExecutorContract, NamesAnInterpreterThatCannotBeExecuted) {
  const auto execution = run(spec("#!/etc/passwd\n"));
  ASSERT_FALSE(execution);
  EXPECT_EQ(execution.error().code, Errc::invalid_argument);
  EXPECT_NE(execution.error().message.find("'/etc/passwd'"), std::string::npos) << execution.error().message;
}

TEST_P(ExecutorContract, RefusesAnEnvironmentThatNoProgramCanHave) {
  auto what = request(spec("true"));
  what.environment["HUGE"].assign(3 << 20, 'x');
  const auto execution = run(std::move(what));
  ASSERT_FALSE(execution);
  EXPECT_EQ(execution.error().code, Errc::invalid_argument) << execution.error().message;
}

TEST_P(ExecutorContract, PassesAnEnvironmentLargerThanOneMessage) {
  auto what = request(spec("printf %s \"$LARGE\" | wc -c"));
  what.environment["LARGE"].assign(100'000, 'x');
  const auto execution = run(std::move(what));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->result, "100000\n");
}

TEST_P(ExecutorContract, RunsSeveralAtOnce) {
  struct Many {
    static Task<int> run(EventLoop& loop, Executor& executor, std::vector<ExecutionRequest> requests) {
      TaskGroup group(loop);
      int right = 0;
      for (std::size_t i = 0; i < requests.size(); ++i) {
        group.spawn(one(executor, std::move(requests[i]), std::to_string(i) + "\n", right));
      }
      co_await group.join();
      co_return right;
    }
    static Task<void> one(Executor& executor, ExecutionRequest what, std::string expected, int& right) {
      const auto execution = co_await executor.run(std::move(what), {});
      if (execution && execution->result == expected) ++right;
    }
  };
  const auto function = spec("sleep 0.2; echo $N");
  std::vector<ExecutionRequest> requests;
  for (int i = 0; i < 20; ++i) {
    requests.push_back(request(function));
    requests.back().environment["N"] = std::to_string(i);
  }
  EXPECT_EQ(run_task(*loop_, Many::run(*loop_, *executor_, std::move(requests))), 20);
}

TEST_P(ExecutorContract, ChecksFunctionsAgainstTheHost) {
  const auto check = [this](const FunctionSpec& function) {
    return run_task(*loop_, executor_->check(std::make_shared<const FunctionSpec>(function)));
  };
  auto function = spec("true");
  const auto fine = check(function);
  ASSERT_TRUE(fine) << fine.error().message;
  EXPECT_EQ(fine->empty(), is_container() && has(Control::memory));

  function.image = "python:3.12";
  const auto unknown = check(function);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::invalid_argument);
  EXPECT_TRUE(unknown.error().message.starts_with("image 'python:3.12' is unknown")) << unknown.error().message;
  EXPECT_FALSE(executor_->controls().empty());
}

}  // namespace
}  // namespace millrace::test
