#include "runtime/launched/run_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <vector>

#include "async/sleep.h"
#include "async/task_group.h"
#include "tests/support/run_task.h"
#include "tests/unit/runtime/launched/fake_launcher.h"

namespace millrace::launched {
namespace {

using namespace std::chrono_literals;
using launcher::KillSignal;

class RunProcessTest : public testing::Test {
 public:
  RunProcessTest() {
    ::signal(SIGPIPE, SIG_IGN);
    function.name = "sample";
    function.uid = FunctionUid("U");
    function.revision = 1;
    function.script = "#!/usr/bin/pythn\n";
    auto [launcher, socket] = FakeLauncher::make(loop);
    fake = std::move(launcher);  // NOLINT(cppcoreguidelines-prefer-member-initializer): comes with the socket
    client.connect(std::move(socket));
  }

  // What run_process() answers, while `part` plays the launcher after the run was started.
  using Part = Task<void> (*)(RunProcessTest& test);
  Result<Execution> play(Part part) { return test::run_task(loop, scenario(part)); }

  Task<Result<Execution>> scenario(Part part) {
    co_await fake->introduce();
    const auto shared = std::make_shared<const FunctionSpec>(function);
    std::optional<Result<TemplateUse>> use;
    TaskGroup group(loop);
    group.spawn(keep(client.use_template({.function = shared, .kind = launcher::Kind::process}, {}), use));
    const auto prepare = co_await fake->take<launcher::Prepare>();
    co_await fake->say(launcher::Prepared{.template_id = prepare.template_id});
    co_await group.join();

    RunPlan plan;
    plan.function = shared;
    plan.argv = {"/script"};
    plan.environment = {"A=b"};
    plan.input_bytes = input;
    if (copied_input) {
      plan.spawn.inputs.push_back({.name = "large", .mode = launcher::InputMode::copy});
      plan.files.emplace_back(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    }
    if (output) plan.measure = [this] { return measure(*this); };
    std::optional<Result<Execution>> execution;
    group.spawn(keep(run_process(loop, client, **use, std::move(plan), stop.get_token()), execution));
    spawn = co_await fake->take<launcher::Spawn>();
    in = std::move(fake->descriptors()[0]);
    out = std::move(fake->descriptors()[1]);
    err = std::move(fake->descriptors()[2]);
    co_await part(*this);
    co_await group.join();
    co_return std::move(*execution);
  }

  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>& into) {
    T value = co_await task;
    into.emplace(std::move(value));
  }

  static Task<OutputSize> measure(RunProcessTest& test) {
    co_await yield(test.loop);
    co_return *test.output;
  }

  Task<void> started() { return fake->say(launcher::Started{.run = spawn.run}); }
  Task<void> exited(launcher::Exited end) {
    in.reset();
    out.reset();
    err.reset();
    end.run = spawn.run;
    return fake->say(end);
  }
  Task<KillSignal> killed() {
    const auto kill = co_await fake->take<launcher::Kill>();
    EXPECT_EQ(kill.run, spawn.run);
    co_return kill.signal;
  }

  UvEventLoop loop;
  Log log{{.level = LogLevel::error}};
  LauncherClient client{loop, log, {}};
  std::unique_ptr<FakeLauncher> fake;
  std::stop_source stop;
  FunctionSpec function;
  std::string input;
  bool copied_input = false;
  std::optional<OutputSize> output;
  launcher::Spawn spawn;
  Fd in;
  Fd out;
  Fd err;
};

// Fills a pipe until nobody takes more of it; how much went in.
std::size_t fill(const Fd& pipe) {
  ::fcntl(pipe.get(), F_SETFL, O_NONBLOCK);
  const std::string block(4096, 'x');
  std::size_t written = 0;
  for (;;) {
    const ssize_t put = ::write(pipe.get(), block.data(), block.size());
    if (put <= 0) return written;
    written += static_cast<std::size_t>(put);
  }
}

TEST_F(RunProcessTest, HoldsBackWhoeverOutrunsItsLogWithBackpressure) {
  function.limits.log_policy = LogPolicy::backpressure;
  function.limits.log_bytes = 4096;
  function.timeout = 2s;
  function.grace = 0ms;
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    // Until the run's end nobody reads more than its log may hold, and what one turn brings.
    for (int i = 0; i < 100; ++i) {
      fill(test.err);
      co_await yield(test.loop);
    }
    EXPECT_EQ(fill(test.err), 0U);
    const auto signal = co_await test.killed();
    EXPECT_EQ(signal, KillSignal::kill);
    co_await test.exited({.how = launcher::Ending::signal, .value = SIGKILL});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::timed_out);
  EXPECT_EQ(execution->message,
            "ran longer than 2s; it waited to write: its log is full (limits.log, log_policy: backpressure)");
  EXPECT_LE(execution->log_bytes, 256U << 10);
}

TEST_F(RunProcessTest, AResultThatIsLargerThanTheLogIsTakenWithBackpressure) {
  function.limits.log_policy = LogPolicy::backpressure;
  function.limits.log_bytes = 16;
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    const std::string block(4096, 'r');
    for (int i = 0; i < 64; ++i) {
      EXPECT_EQ(::write(test.out.get(), block.data(), block.size()), 4096);
      co_await yield(test.loop);
      co_await yield(test.loop);
    }
    co_await test.exited({});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded);
  EXPECT_EQ(execution->result.size(), 64U * 4096);
  EXPECT_EQ(execution->usage.memory_limit_bytes, function.memory_bytes);
}

TEST_F(RunProcessTest, CarriesStreamsCodeAndUsage) {
  input = "event";
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    std::array<char, 16> buffer{};
    EXPECT_EQ(::read(test.in.get(), buffer.data(), buffer.size()), 5);
    EXPECT_EQ(::read(test.in.get(), buffer.data(), buffer.size()), 0);
    EXPECT_EQ(::write(test.out.get(), "out", 3), 3);
    EXPECT_EQ(::write(test.err.get(), "err", 3), 3);
    co_await test.exited({.value = 2,
                          .usage = {.cpu_us = 1,
                                    .memory_peak_bytes = 2,
                                    .rss_peak_bytes = 3,
                                    .io_read_bytes = 4,
                                    .io_write_bytes = 5,
                                    .throttled_us = 6,
                                    .start_us = 7,
                                    .wall_us = 8}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::failed);
  EXPECT_EQ(execution->exit_code, 2);
  EXPECT_EQ(execution->result, "out");
  EXPECT_EQ(execution->log_bytes, 6U);
  EXPECT_EQ(execution->log_tail.size(), 6U);
  const Usage& usage = execution->usage;
  EXPECT_EQ(usage.cpu_us, 1U);
  EXPECT_EQ(usage.memory_peak_bytes, 2U);
  EXPECT_EQ(usage.rss_peak_bytes, 3U);
  EXPECT_EQ(usage.read_bytes, 4U);
  EXPECT_EQ(usage.written_bytes, 5U);
  EXPECT_EQ(usage.throttled_us, 6U);
  EXPECT_EQ(usage.start_us, 7U);
  EXPECT_EQ(usage.wall_us, 8U) << "when the daemon read of it says nothing";
}

TEST_F(RunProcessTest, AsksForTheLimitsOfTheFunction) {
  function.memory_bytes = 1000;
  function.cpu_millicores = 300;
  function.limits.cpu_millicores = 500;
  function.limits.pids = 7;
  function.limits.open_files = 8;
  function.limits.output_bytes = 9;
  function.limits.scratch_bytes = 10;
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    co_await test.exited({.usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  const launcher::Limits& limits = spawn.limits;
  EXPECT_EQ(limits.memory_bytes, 1000U);
  EXPECT_EQ(limits.cpu_weight_millicores, 300U);
  EXPECT_EQ(limits.cpu_quota_millicores, 500U);
  EXPECT_EQ(limits.pids, 7U);
  EXPECT_EQ(limits.open_files, 8U);
  EXPECT_EQ(limits.file_bytes, 10U);
  EXPECT_EQ(limits.scratch_bytes, 10U);
  const auto program = launcher::unpack_program(spawn.program);
  ASSERT_TRUE(program);
  EXPECT_STREQ(program->argv[0], "/script");
  EXPECT_STREQ(program->environment[0], "A=b");
}

TEST_F(RunProcessTest, WritesALargeInputAsItIsRead) {
  input.assign(1 << 20, 'x');
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    std::vector<char> buffer(50'000);
    std::size_t total = 0;
    for (;;) {
      const auto ready = co_await wait_ready(test.loop, test.in.get(), EventLoop::Interest::readable);
      EXPECT_TRUE(ready);
      const ssize_t got = ::read(test.in.get(), buffer.data(), buffer.size());
      if (got <= 0) break;
      total += static_cast<std::size_t>(got);
    }
    EXPECT_EQ(total, 1U << 20);
    co_await test.exited({.usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded);
}

TEST_F(RunProcessTest, ForgivesAReaderThatGoesAway) {
  input.assign(1 << 20, 'x');
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    test.in.reset();
    EXPECT_EQ(::write(test.out.get(), "fine", 4), 4);
    co_await test.exited({.usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded);
  EXPECT_EQ(execution->result, "fine");
}

TEST_F(RunProcessTest, AsksAndThenKillsAtTheTimeout) {
  function.timeout = 5ms;
  function.grace = 5ms;
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    const auto first = co_await test.killed();
    EXPECT_EQ(first, KillSignal::term);
    const auto second = co_await test.killed();
    EXPECT_EQ(second, KillSignal::kill);
    co_await test.exited({.how = launcher::Ending::signal, .value = 9, .usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::timed_out);
  EXPECT_EQ(execution->message, "ran longer than 5ms");
}

TEST_F(RunProcessTest, KillsAtOnceWithoutGrace) {
  function.grace = 0ms;
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    co_await yield(test.loop);
    test.stop.request_stop();
    const auto signal = co_await test.killed();
    EXPECT_EQ(signal, KillSignal::kill);
    co_await test.exited({.how = launcher::Ending::signal, .value = 9, .usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::cancelled);
}

TEST_F(RunProcessTest, RemembersACancelBeforeTheStart) {
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    test.stop.request_stop();
    co_await test.started();
    const auto signal = co_await test.killed();
    EXPECT_EQ(signal, KillSignal::term);
    co_await test.exited({.usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::cancelled);
}

TEST_F(RunProcessTest, CopyingInputsIsTheFunctionsTime) {
  copied_input = true;
  function.timeout = 5ms;
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    const auto signal = co_await test.killed();
    EXPECT_EQ(signal, KillSignal::kill);  // it has not begun: there is nobody to ask
    co_await test.started();
    co_await test.exited({.how = launcher::Ending::signal, .value = 9, .usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::timed_out);
}

TEST_F(RunProcessTest, ACancelWhileInputsAreCopiedIsNoFailureOfTheirs) {
  copied_input = true;
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    test.stop.request_stop();
    const auto signal = co_await test.killed();
    EXPECT_EQ(signal, KillSignal::kill);
    test.out.reset();
    test.err.reset();
    co_await test.fake->say(
        launcher::SpawnFailed{.run = test.spawn.run, .step = launcher::Step::clone, .error = EAGAIN});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::cancelled);
}

TEST_F(RunProcessTest, KillsWhatWritesTooMuch) {
  function.limits.output_bytes = 100;
  output.emplace();
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    test.output->bytes = 101;
    const auto signal = co_await test.killed();
    EXPECT_EQ(signal, KillSignal::kill);
    test.output->bytes = 50;  // the verdict stands although some of it is gone
    co_await test.exited({.how = launcher::Ending::signal, .value = 9, .usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::output_too_large);
  EXPECT_EQ(execution->usage.output_bytes, 101U);
}

TEST_F(RunProcessTest, MeasuresOnceMoreAfterAFailure) {
  function.limits.output_bytes = 100;
  output.emplace();
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    test.output->bytes = 101;
    co_await test.exited({.value = 1, .usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::output_too_large);
}

TEST_F(RunProcessTest, LeavesWhatASuccessLeftToWhoeverSealsIt) {
  function.limits.output_bytes = 100;
  output.emplace();
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    test.output->bytes = 101;
    co_await test.exited({.usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded);
  EXPECT_EQ(execution->usage.output_bytes, 0U);
}

TEST_F(RunProcessTest, DoesNotWaitForPipesThatSomebodyElseKeeps) {
  Fd kept;
  static_assert(kPipesAfterEnd <= 2s, "this test waits so long");
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    EXPECT_EQ(::write(test.out.get(), "said", 4), 4);
    const Fd elsewhere(::dup(test.out.get()));
    co_await test.exited({.usage = {}});
    co_await sleep_for(test.loop, 2 * kPipesAfterEnd);
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded);
  EXPECT_EQ(execution->result, "said");
}

TEST_F(RunProcessTest, TellsALossOfItsLauncher) {
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    EXPECT_EQ(::write(test.err.get(), "so far", 6), 6);
    test.out.reset();
    test.err.reset();
    test.fake.reset();
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::lost);
  EXPECT_EQ(execution->log_tail, "so far");
}

TEST_F(RunProcessTest, TakesALauncherLostAtTheStartForALoss) {
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    test.out.reset();
    test.err.reset();
    test.fake.reset();
    co_return;
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->outcome, AttemptOutcome::lost);
}

TEST_F(RunProcessTest, PassesARefusalOnAsAnError) {
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.fake->say(
        launcher::SpawnFailed{.run = test.spawn.run, .step = launcher::Step::exec, .error = ENOENT});
  });
  ASSERT_FALSE(execution);
  EXPECT_EQ(execution.error().code, Errc::invalid_argument);
  EXPECT_TRUE(execution.error().message.starts_with("interpreter '/usr/bin/pythn' of the script does not exist"));
}

TEST_F(RunProcessTest, CutsTheResultAtItsLimit) {
  function.limits.result_bytes = 4;
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    EXPECT_EQ(::write(test.out.get(), "12345", 5), 5);
    co_await test.exited({.usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->result, "1234");
  EXPECT_TRUE(execution->result_truncated);
  EXPECT_EQ(execution->log_tail, "12345");
}

TEST_F(RunProcessTest, DoesNotCallAResultAtItsLimitCut) {
  function.limits.result_bytes = 5;
  const auto execution = play([](RunProcessTest& test) -> Task<void> {
    co_await test.started();
    EXPECT_EQ(::write(test.out.get(), "12345", 5), 5);
    co_await test.exited({.usage = {}});
  });
  ASSERT_TRUE(execution) << execution.error().message;
  EXPECT_EQ(execution->result, "12345");
  EXPECT_FALSE(execution->result_truncated);
}

}  // namespace
}  // namespace millrace::launched
