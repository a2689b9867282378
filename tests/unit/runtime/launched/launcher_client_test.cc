#include "runtime/launched/launcher_client.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "async/sleep.h"
#include "async/task_group.h"
#include "tests/support/run_task.h"
#include "tests/unit/runtime/launched/fake_launcher.h"

namespace millrace::launched {
namespace {

using namespace std::chrono_literals;

std::shared_ptr<const FunctionSpec> function(std::uint64_t revision) {
  FunctionSpec spec;
  spec.name = "sample";
  spec.uid = FunctionUid("U");
  spec.revision = revision;
  spec.script = "echo hi";
  return std::make_shared<const FunctionSpec>(spec);
}

TemplatePlan plan(std::uint64_t revision, launcher::Kind kind = launcher::Kind::process) {
  return {.function = function(revision), .kind = kind};
}

class LauncherClientTest : public testing::Test {
 public:
  LauncherClientTest() { restart({.connect_wait = 20ms, .answer_wait = 10s}); }

  void restart(LauncherClient::Options options) {
    client.emplace(loop, log, options);
    client->set_on_trouble([this](LauncherClient::Trouble trouble) { troubles.push_back(trouble); });
  }

  // The test's own story.
  using Story = Task<void> (*)(LauncherClientTest& test);
  void play(Story story) { test::run_task(loop, story(*this)); }

  void connect() {
    auto [launcher, socket] = FakeLauncher::make(loop);
    fake = std::move(launcher);
    client->connect(std::move(socket));
  }

  // A use of revision 1, prepared.
  Task<Result<TemplateUse>> prepared(launcher::Kind kind = launcher::Kind::process) {
    co_await fake->introduce();
    std::optional<Result<TemplateUse>> use;
    TaskGroup group(loop);
    group.spawn(keep(client->use_template(plan(1, kind), {}), use));
    const auto request = co_await fake->take<launcher::Prepare>();
    co_await fake->say(launcher::Prepared{.template_id = request.template_id});
    co_await group.join();
    co_return std::move(*use);
  }

  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>& into) {
    T value = co_await task;
    into.emplace(std::move(value));
  }

  static StartRequest start_request() {
    StartRequest request;
    request.argv = {"/bin/true"};
    for (int i = 0; i < 3; ++i) request.descriptors.emplace_back(::dup(2));
    return request;
  }

  // Starts a run and lets the launcher answer it.
  Task<Result<Start>> started(const TemplateUse& use, std::uint64_t& run) {
    std::optional<Result<Start>> start;
    TaskGroup group(loop);
    group.spawn(keep(client->start(use, start_request(), {}), start));
    const auto request = co_await fake->take<launcher::Spawn>();
    run = request.run;
    co_await fake->say(launcher::Started{.run = run});
    co_await group.join();
    co_return std::move(*start);
  }

  UvEventLoop loop;
  Log log{{.level = LogLevel::error}};
  std::vector<LauncherClient::Trouble> troubles;
  std::optional<LauncherClient> client;
  std::unique_ptr<FakeLauncher> fake;
};

TEST_F(LauncherClientTest, RefusesWithoutALauncherAfterAWhile) {
  play([](LauncherClientTest& test) -> Task<void> {
    const auto use = co_await test.client->use_template(plan(1), {});
    EXPECT_FALSE(use);
    EXPECT_EQ(use.error().code, Errc::unavailable);
    EXPECT_EQ(test.client->hello(), nullptr);
  });
}

TEST_F(LauncherClientTest, WaitsForALauncher) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.client.reset();
    test.restart({.connect_wait = 10s});
    std::optional<Result<launcher::Hello>> hello;
    TaskGroup group(test.loop);
    group.spawn(keep(test.client->wait_hello(), hello));
    test.connect();
    co_await test.fake->introduce();
    co_await group.join();
    EXPECT_TRUE(*hello);
    EXPECT_TRUE((*hello)->privileged);
    EXPECT_NE(test.client->hello(), nullptr);
  });
}

TEST_F(LauncherClientTest, StopsWaitingWhenCancelled) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.client.reset();
    test.restart({.connect_wait = 10s});
    std::stop_source stop;
    std::optional<Result<launcher::Hello>> hello;
    TaskGroup group(test.loop);
    group.spawn(keep(test.client->wait_hello(stop.get_token()), hello));
    stop.request_stop();
    co_await group.join();
    EXPECT_EQ(hello->error().code, Errc::cancelled);
  });
}

TEST_F(LauncherClientTest, SharesOneTemplateAmongManyRuns) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    co_await test.fake->introduce();
    std::optional<Result<TemplateUse>> first;
    std::optional<Result<TemplateUse>> second;
    TaskGroup group(test.loop);
    group.spawn(keep(test.client->use_template(plan(1), {}), first));
    group.spawn(keep(test.client->use_template(plan(1), {}), second));
    const auto request = co_await test.fake->take<launcher::Prepare>();
    EXPECT_EQ(request.kind, launcher::Kind::process);
    EXPECT_FALSE(request.script);
    co_await test.fake->say(
        launcher::Prepared{.template_id = request.template_id, .files = launcher::FileAccess::idmapped});
    co_await group.join();
    EXPECT_TRUE(*first);
    EXPECT_TRUE(*second);
    EXPECT_EQ((*first)->files(), launcher::FileAccess::idmapped);
    const auto third = co_await test.client->use_template(plan(1), {});  // asks nobody
    EXPECT_TRUE(third);
  });
}

TEST_F(LauncherClientTest, HandsTheScriptOver) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    co_await test.fake->introduce();
    std::optional<Result<TemplateUse>> use;
    TaskGroup group(test.loop);
    group.spawn(keep(
        test.client->use_template({.function = function(1), .kind = launcher::Kind::container, .script = true}, {}),
        use));
    const auto request = co_await test.fake->take<launcher::Prepare>();
    EXPECT_TRUE(request.script);
    char text[16] = {};
    EXPECT_EQ(::pread(test.fake->descriptors().front().get(), text, sizeof(text), 0), 7);
    EXPECT_STREQ(text, "echo hi");
    co_await test.fake->say(launcher::Prepared{.template_id = request.template_id});
    co_await group.join();
    EXPECT_TRUE(*use);
  });
}

TEST_F(LauncherClientTest, TellsEveryoneThatPreparingFailedAndTriesAnew) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    co_await test.fake->introduce();
    std::optional<Result<TemplateUse>> first;
    std::optional<Result<TemplateUse>> second;
    TaskGroup group(test.loop);
    group.spawn(keep(test.client->use_template(plan(1), {}), first));
    group.spawn(keep(test.client->use_template(plan(1), {}), second));
    const auto request = co_await test.fake->take<launcher::Prepare>();
    co_await test.fake->say(launcher::PrepareFailed{
        .template_id = request.template_id, .step = launcher::Step::user_namespace, .error = EPERM, .text = "clone"});
    co_await group.join();
    EXPECT_FALSE(*first);
    EXPECT_FALSE(*second);
    EXPECT_NE(first->error().message.find("user_namespace"), std::string::npos);
    group.spawn(keep(test.client->use_template(plan(1), {}), first));
    const auto again = co_await test.fake->take<launcher::Prepare>();
    EXPECT_NE(again.template_id, request.template_id);
    co_await test.fake->say(launcher::Prepared{.template_id = again.template_id});
    co_await group.join();
  });
}

TEST_F(LauncherClientTest, MakesRoomByDroppingTheOldestIdleTemplate) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.client.reset();
    test.restart({.connect_wait = 1s, .templates_max = 2});
    test.connect();
    co_await test.fake->introduce();
    std::vector<std::uint32_t> ids;
    std::optional<Result<TemplateUse>> held;
    TaskGroup group(test.loop);
    for (std::uint64_t revision = 1; revision <= 2; ++revision) {
      std::optional<Result<TemplateUse>> use;
      group.spawn(keep(test.client->use_template(plan(revision), {}), use));
      const auto request = co_await test.fake->take<launcher::Prepare>();
      ids.push_back(request.template_id);
      co_await test.fake->say(launcher::Prepared{.template_id = request.template_id});
      co_await group.join();
      if (revision == 1) held.emplace(std::move(*use));
    }
    std::optional<Result<TemplateUse>> third;
    group.spawn(keep(test.client->use_template(plan(3), {}), third));
    const auto dropped = co_await test.fake->take<launcher::Drop>();
    EXPECT_EQ(dropped.template_id, ids[1]);  // the first is in use
    const auto request = co_await test.fake->take<launcher::Prepare>();
    co_await test.fake->say(launcher::Prepared{.template_id = request.template_id});
    co_await group.join();
    EXPECT_TRUE(*third);
    const auto fourth = co_await test.client->use_template(plan(4), {});
    EXPECT_FALSE(fourth);
    EXPECT_EQ(fourth.error().code, Errc::resource_exhausted);
  });
}

TEST_F(LauncherClientTest, DropsAForgottenTemplateWhenItsLastUserLeaves) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    auto use = co_await test.prepared();
    EXPECT_TRUE(use);
    test.client->forget(FunctionUid("U"), 1);
    test.client->forget(FunctionUid("nobody"), 1);
    std::uint64_t run = 0;
    auto start = co_await test.started(*use, run);
    EXPECT_TRUE(start && start->run);
    co_await test.fake->say(launcher::Exited{.run = run, .usage = {}});
    const auto end = co_await start->run->wait_ended();
    EXPECT_TRUE(end.exited);
    {
      const auto last = std::move(*use);
    }
    const auto dropped = co_await test.fake->take<launcher::Drop>();
    EXPECT_EQ(dropped.template_id, 1U);
  });
}

TEST_F(LauncherClientTest, TellsStartAndEnd) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    const auto use = co_await test.prepared();
    std::uint64_t run = 0;
    auto start = co_await test.started(*use, run);
    EXPECT_TRUE(start && start->run && !start->refused);
    start->run->kill(launcher::KillSignal::term);
    const auto kill = co_await test.fake->take<launcher::Kill>();
    EXPECT_EQ(kill.run, run);
    EXPECT_EQ(kill.signal, launcher::KillSignal::term);
    co_await test.fake->say(launcher::Exited{.run = run, .value = 3, .usage = {.cpu_us = 7}});
    const auto end = co_await start->run->wait_ended();
    EXPECT_EQ(end.exited->value, 3U);
    EXPECT_EQ(end.exited->usage.cpu_us, 7U);
    EXPECT_GE(end.ended_at, end.started_at);
    start->run->kill(launcher::KillSignal::kill);  // too late: nothing is said
    test.client->forget(FunctionUid("U"), 1);
  });
}

TEST_F(LauncherClientTest, TellsARefusal) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    const auto use = co_await test.prepared();
    std::optional<Result<Start>> start;
    TaskGroup group(test.loop);
    group.spawn(keep(test.client->start(*use, start_request(), {}), start));
    const auto request = co_await test.fake->take<launcher::Spawn>();
    co_await test.fake->say(launcher::SpawnFailed{.run = request.run, .step = launcher::Step::exec, .error = ENOENT});
    co_await group.join();
    EXPECT_TRUE((*start)->refused);
    EXPECT_EQ((*start)->refused->step, launcher::Step::exec);
    EXPECT_EQ((*start)->run, nullptr);
  });
}

TEST_F(LauncherClientTest, KillsARunThatNobodyWaitsForAnyMore) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    const auto use = co_await test.prepared();
    std::uint64_t run = 0;
    {
      auto start = co_await test.started(*use, run);
      EXPECT_TRUE(start && start->run);
    }
    const auto kill = co_await test.fake->take<launcher::Kill>();
    EXPECT_EQ(kill.run, run);
    EXPECT_EQ(kill.signal, launcher::KillSignal::kill);
  });
}

TEST_F(LauncherClientTest, SendsALargeProgramInAMemoryFile) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    const auto use = co_await test.prepared();
    auto request = start_request();
    request.environment = {"LARGE=" + std::string(launcher::kProgramInlineBytesMax, 'x')};
    std::optional<Result<Start>> start;
    TaskGroup group(test.loop);
    group.spawn(keep(test.client->start(*use, std::move(request), {}), start));
    const auto spawn = co_await test.fake->take<launcher::Spawn>();
    EXPECT_TRUE(spawn.program.empty());
    EXPECT_EQ(test.fake->descriptors().size(), 4U);
    co_await test.fake->say(launcher::SpawnFailed{.run = spawn.run, .step = launcher::Step::exec, .error = E2BIG});
    co_await group.join();
  });
}

TEST_F(LauncherClientTest, RefusesAProgramThatCannotBe) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    const auto use = co_await test.prepared();
    auto request = start_request();
    request.environment = {std::string("NUL=\0", 5)};
    const auto start = co_await test.client->start(*use, std::move(request), {});
    EXPECT_FALSE(start);
    EXPECT_EQ(start.error().code, Errc::invalid_argument);
  });
}

TEST_F(LauncherClientTest, LosesEverythingWithItsLauncher) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    const auto use = co_await test.prepared();
    std::uint64_t run = 0;
    auto running = co_await test.started(*use, run);
    std::optional<Result<Start>> starting;
    std::optional<Result<TemplateUse>> preparing;
    std::optional<Result<WriteState>> checking;
    TaskGroup group(test.loop);
    group.spawn(keep(test.client->start(*use, start_request(), {}), starting));
    [[maybe_unused]] const auto spawn = co_await test.fake->take<launcher::Spawn>();
    group.spawn(keep(test.client->use_template(plan(2), {}), preparing));
    [[maybe_unused]] const auto prepare = co_await test.fake->take<launcher::Prepare>();
    group.spawn(keep(test.client->check(Fd(::dup(2))), checking));
    [[maybe_unused]] const auto check = co_await test.fake->take<launcher::CheckQuiet>();
    test.fake.reset();
    co_await group.join();
    const auto end = co_await running->run->wait_ended();
    EXPECT_FALSE(end.exited);
    EXPECT_TRUE(*starting);  // nobody knows whether it began
    EXPECT_FALSE((*starting)->run || (*starting)->refused);
    EXPECT_EQ(preparing->error().code, Errc::unavailable);
    EXPECT_EQ(checking->error().code, Errc::unavailable);
    EXPECT_EQ(test.troubles, std::vector{LauncherClient::Trouble::closed});
    const auto late = co_await test.client->start(*use, start_request(), {});
    EXPECT_EQ(late.error().code, Errc::unavailable);

    test.connect();
    const auto again = co_await test.prepared();
    EXPECT_TRUE(again);
  });
}

TEST_F(LauncherClientTest, AsksForNothingWhenAnotherSocketTakesOver) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    const auto use = co_await test.prepared();
    const auto old = std::move(test.fake);
    test.connect();
    const auto again = co_await test.prepared();
    EXPECT_TRUE(again);
    EXPECT_TRUE(test.troubles.empty());
  });
}

TEST_F(LauncherClientTest, CallsALauncherStuckThatDoesNotAnswer) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.client.reset();
    test.restart({.connect_wait = 1s, .answer_wait = 5ms});
    test.connect();
    co_await test.fake->introduce();
    const auto use = co_await test.client->use_template(plan(1), {});
    EXPECT_EQ(use.error().code, Errc::unavailable);
    EXPECT_EQ(test.troubles, std::vector{LauncherClient::Trouble::stuck});
  });
}

TEST_F(LauncherClientTest, WaitsForAsLongAsInputsAreCopiedUntilItHasAskedForTheEnd) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.client.reset();
    test.restart({.connect_wait = 1s, .answer_wait = 100ms});
    test.connect();
    const auto use = co_await test.prepared();
    StartRequest request = start_request();
    request.spawn.inputs.push_back({.name = "large", .mode = launcher::InputMode::copy});
    request.descriptors.emplace_back(::dup(2));
    std::optional<Result<Start>> start;
    std::stop_source stop;
    TaskGroup group(test.loop);
    group.spawn(keep(test.client->start(*use, std::move(request), stop.get_token()), start));
    const auto spawn = co_await test.fake->take<launcher::Spawn>();
    co_await sleep_for(test.loop, 300ms);
    EXPECT_TRUE(test.troubles.empty());
    stop.request_stop();
    const auto kill = co_await test.fake->take<launcher::Kill>();
    EXPECT_EQ(kill.run, spawn.run);
    co_await group.join();
    EXPECT_EQ(test.troubles, std::vector{LauncherClient::Trouble::stuck});
  });
}

TEST_F(LauncherClientTest, ARuntimeThatStartsForLongIsKilledAndNotItsLauncher) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.client.reset();
    test.restart({.connect_wait = 1s, .answer_wait = 100ms, .runtime_wait = 300ms});
    test.connect();
    const auto use = co_await test.prepared(launcher::Kind::oci);
    std::optional<Result<Start>> start;
    TaskGroup starting(test.loop);
    starting.spawn(keep(test.client->start(*use, start_request(), {}), start));
    const auto spawn = co_await test.fake->take<launcher::Spawn>();
    const auto kill = co_await test.fake->take<launcher::Kill>();
    co_await test.fake->say(launcher::SpawnFailed{.run = kill.run, .step = launcher::Step::runtime, .error = 1});
    co_await starting.join();
    EXPECT_EQ(kill.run, spawn.run);
    EXPECT_TRUE(test.troubles.empty());
  });
}

TEST_F(LauncherClientTest, CallsALauncherStuckThatTalksNonsense) {
  play([](LauncherClientTest& test) -> Task<void> {
    for (const auto& nonsense : std::vector<std::string>{"x", "\xff\xff\xff\xff", std::string(60'000, 'x')}) {
      test.troubles.clear();
      test.connect();
      co_await test.fake->introduce();
      co_await test.fake->say_bytes(nonsense);
      while (test.troubles.empty()) co_await sleep_for(test.loop, 1ms);
      EXPECT_EQ(test.troubles, std::vector{LauncherClient::Trouble::stuck});
    }
  });
}

TEST_F(LauncherClientTest, CallsALauncherStuckThatAnswersWhatNobodyAsked) {
  play([](LauncherClientTest& test) -> Task<void> {
    const std::vector<launcher::Answer> wrong = {launcher::Hello{},
                                                 launcher::Started{.run = 9},
                                                 launcher::Exited{.run = 9, .usage = {}},
                                                 launcher::SpawnFailed{.run = 9},
                                                 launcher::Quiet{.request = 9},
                                                 launcher::Sampled{.run = 9, .usage = {}}};
    for (const auto& answer : wrong) {
      test.troubles.clear();
      test.connect();
      co_await test.fake->introduce();
      co_await test.fake->say(answer);
      while (test.troubles.empty()) co_await sleep_for(test.loop, 1ms);
      EXPECT_EQ(test.troubles, std::vector{LauncherClient::Trouble::stuck});
    }
  });
}

TEST_F(LauncherClientTest, RefusesALauncherOfAnotherVersion) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    launcher::Hello hello;
    hello.version = launcher::kProtocolVersion + 1;
    co_await test.fake->say(hello);
    while (test.troubles.empty()) co_await sleep_for(test.loop, 1ms);
    EXPECT_EQ(test.troubles, std::vector{LauncherClient::Trouble::stuck});
  });
}

TEST_F(LauncherClientTest, AsksWhetherAFileIsBeingWritten) {
  play([](LauncherClientTest& test) -> Task<void> {
    test.connect();
    co_await test.fake->introduce();
    const std::vector<std::pair<launcher::Quietness, WriteState>> cases = {
        {launcher::Quietness::quiet, WriteState::quiet},
        {launcher::Quietness::open_for_writing, WriteState::open_for_writing},
        {launcher::Quietness::unsupported, WriteState::unknown}};
    for (const auto& [said, understood] : cases) {
      std::optional<Result<WriteState>> state;
      TaskGroup group(test.loop);
      group.spawn(keep(test.client->check(Fd(::dup(2))), state));
      const auto request = co_await test.fake->take<launcher::CheckQuiet>();
      co_await test.fake->say(launcher::Quiet{.request = request.request, .state = said});
      co_await group.join();
      EXPECT_EQ(**state, understood);
    }
  });
}

}  // namespace
}  // namespace millrace::launched
