// The kind `process`: what a run reports, its limits, and that its whole tree ends. As root, and as an ordinary user
// where that differs.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "tests/integration/launcher/launcher_rig.h"

namespace millrace::launcher {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

class ProcessKind : public ::testing::TestWithParam<LauncherRig::As> {
 protected:
  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    rig_.emplace(GetParam());
    rig_->prepare(1, Kind::process);
  }

  RunResult shell(const std::string& script) { return rig_->run({.argv = {"sh", "-c", script}}); }
  RunResult probe(const std::vector<std::string>& arguments, Limits limits = {}) {
    return rig_->finish(start_probe(arguments, limits));
  }
  std::uint64_t start_probe(const std::vector<std::string>& arguments, Limits limits = {}) {
    RunSpec spec{.argv = {probe_path()}, .limits = limits};
    spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
    return rig_->start(spec);
  }

  std::optional<LauncherRig> rig_;
};

TEST_P(ProcessKind, ReportsTheExitCode) {
  const auto result = shell("exit 42");
  EXPECT_TRUE(result.started);
  EXPECT_EQ(result.exited.how, Ending::code);
  EXPECT_EQ(result.exited.value, 42U);
  EXPECT_FALSE(result.exited.out_of_memory);
  EXPECT_GT(result.exited.usage.start_us, 0U);
  EXPECT_GT(result.exited.usage.rss_peak_bytes, 0U);
}

TEST_P(ProcessKind, ReportsTheSignal) {
  const auto result = probe({"signal", std::to_string(SIGABRT)});
  EXPECT_EQ(result.exited.how, Ending::signal);
  EXPECT_EQ(result.exited.value, static_cast<std::uint32_t>(SIGABRT));
}

TEST_P(ProcessKind, ConnectsStandardInputOutputAndErrors) {
  const auto result = rig_->run({.argv = {"sh", "-c", "cat; echo oops >&2"}, .standard_input = "hello"});
  EXPECT_EQ(result.output, "hello");
  EXPECT_EQ(result.errors, "oops\n");
}

TEST_P(ProcessKind, PassesExactlyTheGivenEnvironmentAndWorkingDirectory) {
  const auto result =
      rig_->run({.argv = {"/bin/sh", "-c", "pwd; env | grep -v -e ^PWD -e ^SHLVL -e ^_= -e ^OLDPWD | sort"},
                 .environment = {"PATH=/usr/bin:/bin", "EVENT={\"a\": 1}"},
                 .working_directory = "/usr"});
  EXPECT_EQ(result.output, "/usr\nEVENT={\"a\": 1}\nPATH=/usr/bin:/bin\n");
}

TEST_P(ProcessKind, PassesAnEnvironmentLargerThanADatagram) {
  const std::string event(100'000, 'e');
  const auto result = rig_->run(
      {.argv = {"sh", "-c", "printf %s \"$EVENT\" | wc -c"}, .environment = {"PATH=/usr/bin:/bin", "EVENT=" + event}});
  EXPECT_EQ(std::stoul(result.output), event.size());
}

TEST_P(ProcessKind, RunsAsTheDaemonsUserWithoutPrivileges) {
  const auto result = shell("id -u; id -g; id -G; grep -E 'CapEff|CapPrm|CapAmb|NoNewPrivs' /proc/self/status");
  const auto id = std::to_string(kDaemonUid);
  EXPECT_EQ(result.output, id + "\n" + id + "\n" + id +
                               "\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n"
                               "NoNewPrivs:\t1\n");
}

TEST_P(ProcessKind, InheritsNoDescriptorButTheThree) {
  const auto result = probe({"descriptors"});
  EXPECT_EQ(result.output, "0\n1\n2\n");
}

TEST_P(ProcessKind, StartsWithDefaultSignalsInASessionOfItsOwn) {
  const auto result =
      shell("grep -E '^Sig(Blk|Ign)' /proc/self/status; set -- $(cat /proc/$$/stat); [ \"$6\" = $$ ] && echo own");
  EXPECT_EQ(result.output, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nown\n");
}

TEST_P(ProcessKind, ReportsWhyAProgramCannotBeExecuted) {
  TestDirectory directory;
  const Fd no_interpreter = directory.file("no_interpreter", "#!/does/not/exist\n", 0755);
  const Fd no_format = directory.file("no_format", "neither script nor program\n", 0755);
  const Fd no_permission = directory.file("no_permission", "#!/bin/sh\n", 0644);
  const auto failure = [this](const std::string& program, std::vector<std::string> arguments = {}) {
    RunSpec spec{.argv = {program}};
    spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
    const auto result = rig_->run(spec);
    EXPECT_FALSE(result.started);
    EXPECT_EQ(result.failed.step, Step::exec);
    return result.failed.error;
  };
  EXPECT_EQ(failure("/does/not/exist"), ENOENT);
  EXPECT_EQ(failure("does-not-exist-on-the-path"), ENOENT);
  EXPECT_EQ(failure(directory.path() + "/no_interpreter"), ENOENT);
  EXPECT_EQ(failure(directory.path() + "/no_format"), ENOEXEC);
  EXPECT_EQ(failure(directory.path() + "/no_permission"), EACCES);
  EXPECT_EQ(failure("/bin/true", {std::string(200'000, 'x')}), E2BIG);
}

TEST_P(ProcessKind, ReportsAMissingWorkingDirectory) {
  const auto result = rig_->run({.argv = {"true"}, .working_directory = "/does/not/exist"});
  EXPECT_EQ(result.failed.step, Step::working_directory);
  EXPECT_EQ(result.failed.error, ENOENT);
}

TEST_P(ProcessKind, RefusesRunsOfUnknownTemplates) {
  const auto result = rig_->run({.template_id = 77, .argv = {"true"}});
  EXPECT_EQ(result.failed.step, Step::request);
  EXPECT_EQ(result.failed.error, ENOENT);
}

TEST_P(ProcessKind, EndsADaemonisedTreeWithItsRun) {
  // The first process ends at once; finish() fails the test if anything still holds the pipes.
  const auto result = probe({"daemonize"});
  EXPECT_EQ(result.exited.how, Ending::code);
}

TEST_P(ProcessKind, KillEndsTheWholeTreeHoweverItHides) {
  for (const char* what : {"ignore-term", "pause", "stop", "fork-bomb"}) {
    const auto run = start_probe({what}, {.pids = 200});
    rig_->await_output(run, "ready");
    rig_->send(Kill{.run = run, .signal = KillSignal::kill});
    const auto result = rig_->finish(run);
    EXPECT_EQ(result.exited.how, Ending::signal) << what;
    EXPECT_EQ(result.exited.value, static_cast<std::uint32_t>(SIGKILL)) << what;
  }
}

TEST_P(ProcessKind, KillEndsDaemonsWhoseParentStillRuns) {
  const auto run = rig_->start({.argv = {"sh", "-c", "\"$1\" daemonize; exec \"$1\" pause", "sh", probe_path()}});
  rig_->await_output(run, "ready\nready");
  rig_->send(Kill{.run = run, .signal = KillSignal::kill});
  EXPECT_EQ(rig_->finish(run).exited.how, Ending::signal);
}

TEST_P(ProcessKind, TermReachesTheFirstProcess) {
  const auto run = start_probe({"on-term"});
  rig_->await_output(run, "ready");
  rig_->send(Kill{.run = run, .signal = KillSignal::term});
  const auto result = rig_->finish(run);
  EXPECT_EQ(result.exited.how, Ending::code);
  EXPECT_EQ(result.exited.value, 7U);
}

TEST_P(ProcessKind, KillingAnEndedRunIsHarmless) {
  const auto run = start_probe({"exit", "0"});
  EXPECT_EQ(rig_->finish(run).exited.value, 0U);
  rig_->send(Kill{.run = run});
  EXPECT_EQ(shell("exit 3").exited.value, 3U);
}

TEST_P(ProcessKind, DropEndsItsRuns) {
  const auto run = start_probe({"pause"});
  rig_->await_output(run, "ready");
  rig_->send(Drop{.template_id = 1});
  EXPECT_EQ(rig_->finish(run).exited.how, Ending::signal);
}

TEST_P(ProcessKind, LimitsFileSizeAndOpenFiles) {
  const auto result = rig_->run(
      {.argv = {"sh", "-c", "ulimit -n; ulimit -f; ulimit -c"}, .limits = {.open_files = 77, .file_bytes = 5120}});
  EXPECT_EQ(result.output, "77\n10\n0\n");
}

TEST_P(ProcessKind, DaemonSocketClosingEndsEverythingAndTheNextDaemonIsServed) {
  const auto run = start_probe({"ignore-term"});
  rig_->await_output(run, "ready");
  rig_->close_daemon_socket();
  rig_->hand_over_new_daemon();
  rig_->prepare(1, Kind::process);
  EXPECT_EQ(shell("exit 5").exited.value, 5U);
}

TEST_P(ProcessKind, ClosingTheLifeLineEndsEverything) {
  const auto run = rig_->start({.argv = {"sh", "-c", "\"$1\" daemonize; exec \"$1\" pause", "sh", probe_path()}});
  rig_->await_output(run, "ready\nready");
  rig_->close_life_line();
  const int status = rig_->await_launcher_end();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(count_cgroups(rig_->prefix()), 0U);
}

INSTANTIATE_TEST_SUITE_P(Rights, ProcessKind, ::testing::Values(LauncherRig::As::root, LauncherRig::As::user),
                         testing::PrintToStringParamName());

// ---- what needs control groups

class ProcessKindGroups : public ::testing::Test {
 protected:
  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    rig_.emplace();
    rig_->prepare(1, Kind::process);
    if (rig_->hello().of(Control::memory).support != Support::real) {
      GTEST_SKIP() << "no memory control on this host: " << rig_->hello().of(Control::memory).reason;
    }
  }
  RunResult probe(const std::vector<std::string>& arguments, Limits limits) {
    RunSpec spec{.argv = {probe_path()}, .limits = limits};
    spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
    return rig_->run(spec);
  }
  std::optional<LauncherRig> rig_;
};

TEST_F(ProcessKindGroups, TellsOutOfMemoryApartFromAKill) {
  const auto eaten = probe({"eat", std::to_string(64 * kMiB)}, {.memory_bytes = 16 * kMiB});
  EXPECT_EQ(eaten.exited.how, Ending::signal);
  EXPECT_EQ(eaten.exited.value, static_cast<std::uint32_t>(SIGKILL));
  EXPECT_TRUE(eaten.exited.out_of_memory);
  const auto killed = probe({"signal", std::to_string(SIGKILL)}, {.memory_bytes = 16 * kMiB});
  EXPECT_EQ(killed.exited.value, static_cast<std::uint32_t>(SIGKILL));
  EXPECT_FALSE(killed.exited.out_of_memory);
  const auto code = probe({"exit", "137"}, {.memory_bytes = 16 * kMiB});
  EXPECT_EQ(code.exited.how, Ending::code);
  EXPECT_FALSE(code.exited.out_of_memory);
}

TEST_F(ProcessKindGroups, OutOfMemoryInAChildEndsTheRun) {
  // The parent would wait for ever.
  const auto result = probe({"eat-in-child", std::to_string(64 * kMiB)}, {.memory_bytes = 16 * kMiB});
  EXPECT_TRUE(result.exited.out_of_memory);
}

TEST_F(ProcessKindGroups, LimitsProcesses) {
  const auto result = probe({"forks", "100"}, {.pids = 10});
  EXPECT_EQ(result.output, "9\n");
}

TEST_F(ProcessKindGroups, WritesCpuWeightAndQuota) {
  const auto run = rig_->start(
      {.argv = {probe_path(), "pause"}, .limits = {.cpu_weight_millicores = 500, .cpu_quota_millicores = 200}});
  rig_->await_output(run, "ready");
  const bool v1 = std::filesystem::exists("/sys/fs/cgroup/cpu");
  EXPECT_EQ(read_group_file(rig_->prefix(), v1 ? "cpu.shares" : "cpu.weight"), v1 ? "512\n" : "50\n");
  EXPECT_EQ(read_group_file(rig_->prefix(), v1 ? "cpu.cfs_quota_us" : "cpu.max"), v1 ? "20000\n" : "20000 100000\n");
  rig_->send(Kill{.run = run});
  rig_->finish(run);
}

TEST_F(ProcessKindGroups, AccountsForTheWholeTreeAndStartsAnewForTheNextRun) {
  const auto busy = rig_->run(
      {.argv = {"sh", "-c", "\"$1\" burn 60 & \"$1\" burn 60; wait; \"$1\" eat 20000000", "sh", probe_path()}});
  EXPECT_GE(busy.exited.usage.cpu_us, 110'000U);
  EXPECT_GE(busy.exited.usage.memory_peak_bytes, 20'000'000U);
  EXPECT_GE(busy.exited.usage.rss_peak_bytes, 20'000'000U);
  const auto idle = probe({"exit", "0"}, {});
  EXPECT_LT(idle.exited.usage.cpu_us, busy.exited.usage.cpu_us);
  EXPECT_LT(idle.exited.usage.memory_peak_bytes, 15'000'000U);
}

TEST_F(ProcessKindGroups, SamplesARunningProcess) {
  const auto run = rig_->start({.argv = {probe_path(), "pause"}});
  rig_->await_output(run, "ready");
  rig_->send(Sample{.run = run});
  const auto sampled = rig_->await<Sampled>();
  EXPECT_TRUE(sampled.known);
  EXPECT_GT(sampled.usage.memory_peak_bytes, 0U);
  rig_->send(Sample{.run = 12345});
  EXPECT_FALSE(rig_->await<Sampled>().known);
  rig_->send(Kill{.run = run});
  rig_->finish(run);
}

TEST_F(ProcessKindGroups, ANewLifeSweepsWhatAKilledLauncherLeft) {
  const auto run = rig_->start({.argv = {"sh", "-c", "\"$1\" daemonize; exec \"$1\" pause", "sh", probe_path()}});
  rig_->await_output(run, "ready\nready");
  rig_->kill_launcher();
  EXPECT_GT(count_cgroups(rig_->prefix()), 0U);
  rig_->restart();
  rig_->prepare(1, Kind::process);
  EXPECT_EQ(probe({"exit", "9"}, {}).exited.value, 9U);
}

TEST_F(ProcessKindGroups, ManyRunsLeaveNothing) {
  // First as many side by side as the pool will ever need here.
  std::vector<std::uint64_t> runs;
  for (int i = 0; i < 10; ++i) runs.push_back(rig_->start({.argv = {probe_path(), "pause"}}));
  for (const auto run : runs) rig_->await_output(run, "ready");
  // While they run, since afterwards the launcher is replacing groups, each of which is gone for a moment.
  const auto descriptors = count_descriptors(rig_->pid());
  const auto cgroups = count_cgroups(rig_->prefix());
  const auto mounts = count_mounts();
  for (const auto run : runs) rig_->send(Kill{.run = run});
  for (const auto run : runs) rig_->finish(run);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(probe({"exit", "0"}, {.memory_bytes = 64 * kMiB}).exited.value, 0U);
  EXPECT_TRUE(falls_to(descriptors, [this] { return count_descriptors(rig_->pid()); }));
  EXPECT_TRUE(falls_to(cgroups, [this] { return count_cgroups(rig_->prefix()); }));
  EXPECT_EQ(count_mounts(), mounts);
}

}  // namespace
}  // namespace millrace::launcher
