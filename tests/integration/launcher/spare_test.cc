// Sandboxes that are made before their run is known: which runs get them, and what becomes of those that nobody needs.
// The other suites run in them, too, as spare.*.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/launcher/spare_sandbox.h"
#include "tests/integration/launcher/launcher_rig.h"

namespace millrace::launcher {
namespace {

constexpr Limits kLimits{.memory_bytes = 64ULL << 20, .pids = 16};

class Spare : public ::testing::Test {
 protected:
  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    rig_.emplace();
    rig_->prepare(1, Kind::container);
  }

  // Never -1: that would be everybody's, to kill().
  pid_t make_spare(const RunSpec& spec) {
    const pid_t spare = rig_->make_spare(spec);
    if (spare <= 0) throw std::runtime_error("there is no spare sandbox");
    return spare;
  }
  pid_t template_pid() const { return *direct_children(rig_->pid()).begin(); }
  std::set<pid_t> sandboxes() const { return direct_children(template_pid()); }

  // The process becomes the run.
  void expect_begun_in(pid_t spare, const std::string& text) {
    EXPECT_TRUE(sandboxes().contains(spare));
    const auto run = rig_->start({.argv = {"/bin/sh", "-c", "echo " + text + "; sleep 600; exit"}, .limits = kLimits});
    rig_->await_output(run, text);
    EXPECT_NE(read_text("/proc/" + std::to_string(spare) + "/cmdline").find(text), std::string::npos);
    rig_->send(Kill{.run = run});
    const auto result = rig_->finish(run);
    EXPECT_EQ(result.exited.value, std::uint32_t{SIGKILL});
    EXPECT_GT(result.exited.usage.start_us, 0U);
  }

  std::optional<LauncherRig> rig_;
  TestDirectory files_;
};

TEST_F(Spare, IsWhereTheNextRunBegins) {
  const pid_t spare = make_spare({.limits = kLimits});
  expect_begun_in(spare, "hello");
  EXPECT_TRUE(comes_true([&] { return sandboxes().size() == 1 && !sandboxes().contains(spare); })) << "no new one";
}

TEST_F(Spare, GivesARunAllThatItAskedFor) {
  const Fd input = files_.file("a.txt", "content");
  const Fd output = files_.directory("attempt");
  RunSpec spec{.argv = {"/bin/sh", "-c",
                        "cat /tmp/in/first /tmp/in/second - > /tmp/out/all; hostname; pwd; echo $NAME; ulimit -n"},
               .environment = {"PATH=/usr/bin:/bin", "NAME=value"},
               .limits = kLimits,
               .working_directory = "/usr",
               .hostname = "called-so",
               .standard_input = "from stdin",
               .output = output.get(),
               .inputs = {{{.name = "first"}, input.get()}, {{.name = "second"}, input.get()}}};
  spec.limits.open_files = 77;
  const pid_t spare = make_spare(spec);
  const auto result = rig_->run(spec);
  EXPECT_FALSE(sandboxes().contains(spare));
  EXPECT_EQ(result.output, "called-so\n/usr\nvalue\n77\n") << result.errors;
  EXPECT_EQ(read_text(files_.path() + "/attempt/all"), "contentcontentfrom stdin");
}

TEST_F(Spare, OfOtherLimitsGoesUnused) {
  const pid_t spare = make_spare({.limits = kLimits});
  Limits other = kLimits;
  other.scratch_bytes = 1 << 20;
  const auto result = rig_->run({.argv = {"/bin/sh", "-c", "head -c 2000000 /dev/zero > /tmp/x"}, .limits = other});
  EXPECT_TRUE(result.started);
  EXPECT_NE(result.exited.value, 0U) << "its own bound holds";
  EXPECT_TRUE(comes_true([&] { return !sandboxes().contains(spare); })) << "it stays although nobody will come for it";
  EXPECT_TRUE(comes_true([&] { return sandboxes().size() == 1; })) << "none for the limits that are wanted now";
}

TEST_F(Spare, ThatWasKilledCostsNobodyAnything) {
  for (int i = 0; i < 20; ++i) {
    const pid_t spare = make_spare({.limits = kLimits});
    ASSERT_EQ(::kill(spare, SIGKILL), 0);
    const auto result = rig_->run({.argv = {"/bin/echo", "fine"}, .limits = kLimits});
    // It may have got the run before the signal got it.
    if (result.output.empty()) EXPECT_EQ(result.exited.value, std::uint32_t{SIGKILL}) << result.errors;
    if (!result.output.empty()) EXPECT_EQ(result.output, "fine\n");
    EXPECT_EQ(rig_->run({.argv = {"/bin/echo", "fine"}, .limits = kLimits}).output, "fine\n");
  }
}

TEST_F(Spare, IsNotForRunsWhoseStartMightRunOutOfMemory) {
  Limits small = kLimits;
  small.memory_bytes = kSpareMemoryBytesMin - 1;
  EXPECT_TRUE(rig_->run({.argv = {"/bin/true"}, .limits = small}).started);
  EXPECT_TRUE(rig_->run({.argv = {"/bin/true"}, .limits = kLimits}).started);
  // The second run's is there, and was made after anything that the first could have left.
  EXPECT_TRUE(comes_true([&] { return sandboxes().size() == 1; }));
  const pid_t spare = *sandboxes().begin();
  EXPECT_TRUE(rig_->run({.argv = {"/bin/true"}, .limits = small}).started);
  EXPECT_TRUE(sandboxes().contains(spare));
  expect_begun_in(spare, "fits");
}

TEST_F(Spare, HoldsTheLongestArgumentsInTheLeastMemory) {
  const pid_t of_template = template_pid();
  Limits least = kLimits;
  least.memory_bytes = kSpareMemoryBytesMin;
  RunSpec spec{.argv = {"/bin/echo", "fine"}, .limits = least};
  for (int i = 0; i < 15; ++i) spec.environment.push_back("V" + std::to_string(i) + "=" + std::string(120'000, 'x'));
  for (int i = 0; i < 20; ++i) {
    make_spare(spec);
    const auto result = rig_->run(spec);
    EXPECT_EQ(result.output, "fine\n") << name_of(result.failed.step) << result.failed.error;
  }
  EXPECT_EQ(template_pid(), of_template) << "it was ended with one of its sandboxes";
}

TEST_F(Spare, TellsWhatCannotBeStarted) {
  make_spare({.limits = kLimits});
  const auto missing = rig_->run({.argv = {"/no/such/program"}, .limits = kLimits});
  EXPECT_FALSE(missing.started);
  EXPECT_EQ(missing.failed.step, Step::exec);
  EXPECT_EQ(missing.failed.error, ENOENT);
}

TEST_F(Spare, IsEndedWithARunThatIsRefused) {
  const pid_t spare = make_spare({.limits = kLimits});
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const std::vector<int> no_program(4, null.get());  // the last one should be a sealed memfd
  rig_->send(Spawn{.run = 1000, .template_id = 1, .limits = kLimits}, no_program);
  EXPECT_EQ(rig_->await<SpawnFailed>().run, 1000U);
  EXPECT_TRUE(comes_true([&] { return !sandboxes().contains(spare); })) << "it stays in a group that is another's now";
  EXPECT_EQ(rig_->run({.argv = {"/bin/echo", "fine"}, .limits = kLimits}).output, "fine\n");
}

TEST_F(Spare, GoesWithItsTemplate) {
  const pid_t spare = make_spare({.limits = kLimits});
  rig_->send(Drop{.template_id = 1});
  EXPECT_TRUE(comes_true([&] { return direct_children(rig_->pid()).empty(); }));
  EXPECT_NE(::kill(spare, 0), 0);
}

TEST_F(Spare, GoesWithItsLauncher) {
  const pid_t spare = make_spare({.limits = kLimits});
  rig_->kill_launcher();
  EXPECT_TRUE(comes_true([&] { return ::kill(spare, 0) != 0; }));
  rig_->restart();
  rig_->prepare(1, Kind::container);
  EXPECT_EQ(rig_->run({.argv = {"/bin/echo", "fine"}, .limits = kLimits}).output, "fine\n");
}

TEST_F(Spare, AreBounded) {
  const auto count = [this] {
    std::size_t sum = 0;
    for (const pid_t of_template : direct_children(rig_->pid())) sum += direct_children(of_template).size();
    return sum;
  };
  for (std::uint32_t id = 1; id <= kSparesMax + 3; ++id) {
    if (id > 1) rig_->prepare(id, Kind::container);
    make_spare({.template_id = id, .limits = kLimits});
  }
  EXPECT_TRUE(falls_to(kSparesMax, count));
  EXPECT_EQ(count(), kSparesMax);
}

}  // namespace
}  // namespace millrace::launcher
