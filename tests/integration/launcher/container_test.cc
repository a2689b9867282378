// The kind `container` on `image: host`: what a run reports, its files, limits and ends, and that nothing is left.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "tests/integration/launcher/launcher_rig.h"

namespace millrace::launcher {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr const char* kProbe = "/tmp/in/probe";

class Container : public ::testing::Test {
 protected:
  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    rig_.emplace();
    ASSERT_EQ(rig_->hello().of(Control::namespaces).support, Support::real);
    prepared_ = rig_->prepare(1, Kind::container);
    probe_ = files_.file("probe", read_text(probe_path()), 0755);
  }

  RunSpec probe_spec(const std::vector<std::string>& arguments, Limits limits = {}) {
    RunSpec spec{.argv = {kProbe}, .limits = limits, .inputs = {{{.name = "probe"}, probe_.get()}}};
    spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
    return spec;
  }
  RunResult probe(const std::vector<std::string>& arguments, Limits limits = {}) {
    return rig_->run(probe_spec(arguments, limits));
  }
  pid_t template_pid() const { return *direct_children(rig_->pid()).begin(); }
  RunResult shell(const std::string& script) { return rig_->run({.argv = {"sh", "-c", script}}); }

  TestDirectory files_;
  std::optional<LauncherRig> rig_;
  Prepared prepared_;
  Fd probe_;
};

TEST_F(Container, ReportsExitCodeSignalAndStreams) {
  const auto result = rig_->run({.argv = {"sh", "-c", "cat; echo oops >&2; exit 42"}, .standard_input = "hello"});
  EXPECT_EQ(result.output, "hello");
  EXPECT_EQ(result.errors, "oops\n");
  EXPECT_EQ(result.exited.how, Ending::code);
  EXPECT_EQ(result.exited.value, 42U);
  EXPECT_GT(result.exited.usage.start_us, 0U);
  // As pid 1 it is immune to its own signals but for those that the kernel forces.
  const auto killed = shell("sh -c 'kill -SEGV $$'; exit $?");
  EXPECT_EQ(killed.exited.value, 128U + SIGSEGV);
}

TEST_F(Container, PassesEnvironmentHostnameAndWorkingDirectory) {
  const auto result = rig_->run({.argv = {"sh", "-c", "hostname; pwd; printf %s \"$EVENT\" | wc -c"},
                                 .environment = {"PATH=/usr/bin:/bin", "EVENT=" + std::string(100'000, 'e')},
                                 .working_directory = "/usr/lib",
                                 .hostname = "resize-1"});
  EXPECT_EQ(result.output, "resize-1\n/usr/lib\n100000\n");
  EXPECT_EQ(shell("hostname; pwd").output, "function\n/tmp\n");
}

TEST_F(Container, RunsTheScriptOfItsTemplate) {
  rig_->prepare(2, Kind::container, Network::none, "#!/bin/sh\necho from the script: $1\n");
  const auto result = rig_->run({.template_id = 2, .argv = {std::string(kScriptPath), "word"}});
  EXPECT_EQ(result.output, "from the script: word\n");
  const auto mode = rig_->run({.template_id = 2, .argv = {"stat", "-c", "%a", std::string(kScriptPath)}});
  EXPECT_EQ(mode.output, "555\n");
  EXPECT_NE(rig_->run({.template_id = 2, .argv = {"sh", "-c", "echo x >> " + std::string(kScriptPath)}}).exited.value,
            0U);
}

TEST_F(Container, ReportsWhyAProgramCannotBeExecuted) {
  const Fd no_interpreter = files_.file("no_interpreter", "#!/does/not/exist\n", 0755);
  const Fd no_format = files_.file("no_format", "neither script nor program\n", 0755);
  const Fd no_permission = files_.file("no_permission", "#!/bin/sh\n", 0644);
  const auto failure = [this](std::vector<std::string> argv, int file = -1) {
    RunSpec spec{.argv = std::move(argv)};
    if (file >= 0) spec.inputs.push_back({{.name = "program"}, file});
    const auto result = rig_->run(spec);
    EXPECT_FALSE(result.started);
    EXPECT_EQ(result.failed.step, Step::exec) << name_of(result.failed.step);
    return result.failed.error;
  };
  EXPECT_EQ(failure({"/does/not/exist"}), ENOENT);
  EXPECT_EQ(failure({"does-not-exist-on-the-path"}), ENOENT);
  EXPECT_EQ(failure({"/tmp/in/program"}, no_interpreter.get()), ENOENT);
  EXPECT_EQ(failure({"/tmp/in/program"}, no_format.get()), ENOEXEC);
  EXPECT_EQ(failure({"/tmp/in/program"}, no_permission.get()), EACCES);
  EXPECT_EQ(failure({"/bin/true", std::string(200'000, 'x')}), E2BIG);
  const auto nowhere = rig_->run({.argv = {"true"}, .working_directory = "/does/not/exist"});
  EXPECT_EQ(nowhere.failed.step, Step::working_directory);
  // The template is as good as before.
  EXPECT_EQ(shell("exit 3").exited.value, 3U);
}

TEST_F(Container, RunsPythonAndOtherProgramsOfTheHost) {
  const auto result = shell(
      "python3 -c 'import ssl, sqlite3, multiprocessing as m; print(sum(m.Pool(2).map(abs, [-1, -2])))' && "
      "perl -e 'print 1+1' && getent passwd function && id -un && ls /dev/shm && df /tmp | tail -1 | cut -d' ' -f1");
  EXPECT_EQ(result.output, "3\n2function:x:65533:65533::/tmp:/bin/sh\nfunction\ntmpfs\n") << result.errors;
}

// ---- files

TEST_F(Container, InputsAreReadableByTheRunAloneAndReadOnly) {
  const bool one_id = LauncherRig::usual() == LauncherRig::As::user;
  ASSERT_EQ(prepared_.files, one_id ? FileAccess::daemon_uid : FileAccess::idmapped);
  const Fd input = files_.file("a.txt", "some input", 0600);
  const auto content = rig_->run({.argv = {"sh", "-c", "cat /tmp/in/a.txt; stat -c ' %u %a' /tmp/in/a.txt; ls /tmp/in"},
                                  .inputs = {{{.name = "a.txt"}, input.get()}}});
  EXPECT_EQ(content.output, "some input 65533 600\na.txt\n") << content.errors;
}

TEST_F(Container, OutputsBelongToTheDaemon) {
  const Fd output = files_.directory("attempt");
  const auto result =
      rig_->run({.argv = {"sh", "-c", "mkdir /tmp/out/d && echo result > /tmp/out/d/r.txt"}, .output = output.get()});
  EXPECT_EQ(result.exited.value, 0U) << result.errors;
  const std::string path = files_.path() + "/attempt/d/r.txt";
  EXPECT_EQ(read_text(path), "result\n");
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, kDaemonUid);
  EXPECT_EQ(status.st_gid, kDaemonUid);
}

TEST_F(Container, InputsAndOutputsCannotBeMisused) {
  const Fd input = files_.file("a.txt", "some input", 0600);
  const Fd output = files_.directory("attempt");
  auto spec = probe_spec({"files"});
  spec.inputs.push_back({{.name = "a.txt"}, input.get()});
  spec.output = output.get();
  const auto result = rig_->run(spec);
  // The directory of the inputs is read-only where it would be the run's own.
  const std::string refusal = LauncherRig::usual() == LauncherRig::As::user ? "EROFS" : "EACCES";
  EXPECT_EQ(result.output,
            "stat_input ok\ninput_uid 65533 mode 600\nwrite_input EROFS\ntruncate_input EROFS\nchmod_input EROFS\n"
            "unlink_input " +
                refusal + "\ncreate_beside_input " + refusal +
                "\ncreate_output ok\nrename_over_input EXDEV\n"
                "link_input EXDEV\nremount_input EPERM\nsymlink_output ok\nfifo_output ok\ndevice_output EPERM\n"
                "setuid_output ok\nleave_output EROFS\n");
  EXPECT_EQ(read_text(files_.path() + "/a.txt"), "some input");
  // What the function left is the daemon's to judge; the setuid bit belongs to the daemon's own id at worst.
  struct stat status{};
  ASSERT_EQ(::lstat((files_.path() + "/attempt/o.txt").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, kDaemonUid);
}

TEST_F(Container, CopiesAnInputThatIsNoFileOfAMountedFileSystem) {
  const Fd memory(::memfd_create("input", MFD_CLOEXEC));
  ASSERT_EQ(::write(memory.get(), "from memory", 11), 11);
  const auto result = rig_->run(
      {.argv = {"cat", "/tmp/in/m.bin"}, .inputs = {{{.name = "m.bin", .mode = InputMode::copy}, memory.get()}}});
  EXPECT_EQ(result.output, "from memory") << name_of(result.failed.step) << result.failed.error;
  const auto mounted = rig_->run({.argv = {"true"}, .inputs = {{{.name = "m.bin"}, memory.get()}}});
  EXPECT_EQ(mounted.failed.step, Step::input);
}

TEST_F(Container, CountsACopiedInputAsScratchAndMemory) {
  const Fd memory(::memfd_create("input", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 40 * kMiB), 0);
  const auto copy = [this, &memory](Limits limits) {
    return rig_->run({.argv = {"sh", "-c", "wc -c < /tmp/in/m; touch /tmp/in/m || echo read-only"},
                      .limits = limits,
                      .inputs = {{{.name = "m", .mode = InputMode::copy}, memory.get()}}});
  };
  const auto fits = copy({.memory_bytes = 100 * kMiB, .scratch_bytes = 50 * kMiB});
  EXPECT_EQ(fits.output, "41943040\nread-only\n") << name_of(fits.failed.step) << fits.failed.error;
  const auto full = copy({.scratch_bytes = 10 * kMiB});
  EXPECT_EQ(full.failed.step, Step::input);
  EXPECT_EQ(full.failed.error, ENOSPC);
  MILLRACE_NEEDS_CONTROL(memory);
  EXPECT_GT(fits.exited.usage.memory_peak_bytes, 40 * kMiB);
  const auto heavy = copy({.memory_bytes = 16 * kMiB, .scratch_bytes = 50 * kMiB});
  EXPECT_TRUE(heavy.started && heavy.exited.out_of_memory) << name_of(heavy.failed.step) << heavy.failed.error;
}

// A hundredth of a core makes the copy slow, as a slow disk would.
RunSpec slow_copy(int input) {
  return {.argv = {"cat", "/tmp/in/m"},
          .limits = {.memory_bytes = 1024 * kMiB, .cpu_quota_millicores = 10, .scratch_bytes = 512 * kMiB},
          .inputs = {{{.name = "m", .mode = InputMode::copy}, input}}};
}

TEST_F(Container, ARunThatCopiesItsInputKeepsNobodyWaiting) {
  if (rig_->hello().of(Control::cpu_quota).support != Support::real)
    GTEST_SKIP() << rig_->hello().of(Control::cpu_quota).reason;
  const Fd memory(::memfd_create("input", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 400 * kMiB), 0);
  const std::uint64_t slow = rig_->start(slow_copy(memory.get()));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rig_->run({.argv = {"echo", "meanwhile"}}).output, "meanwhile\n");
  rig_->send(Sample{.run = slow});
  EXPECT_EQ(rig_->await<Sampled>().usage.start_us, 0U) << "it has started: the copy was too fast for this test";
  rig_->send(Kill{.run = slow, .signal = KillSignal::kill});
  const auto killed = rig_->finish(slow);
  EXPECT_TRUE(killed.started) << name_of(killed.failed.step) << killed.failed.error;
  EXPECT_EQ(killed.exited.how, Ending::signal);
  EXPECT_EQ(killed.exited.value, SIGKILL);
  EXPECT_FALSE(killed.exited.out_of_memory);
  EXPECT_TRUE(killed.output.empty()) << killed.output.size();
}

// Right behind its request: it may not even be in its group.
TEST_F(Container, AKillFindsARunOnItsWay) {
  const Fd memory(::memfd_create("input", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 400 * kMiB), 0);
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t run = rig_->start(slow_copy(memory.get()));
    rig_->send(Kill{.run = run, .signal = KillSignal::kill});
    const auto killed = rig_->finish(run);
    EXPECT_TRUE(!killed.started || killed.exited.value == SIGKILL);
    EXPECT_TRUE(killed.output.empty()) << killed.output.size();
  }
  EXPECT_EQ(rig_->run({.argv = {"echo", "fine"}}).output, "fine\n");
}

TEST_F(Container, ATinyMemoryLimitHarmsOnlyItsRun) {
  MILLRACE_NEEDS_CONTROL(memory);
  for (const std::uint64_t bytes : {4096ULL, 65536ULL}) {
    const auto result = rig_->run({.argv = {"true"}, .limits = {.memory_bytes = bytes}});
    EXPECT_TRUE(!result.started || result.exited.out_of_memory) << bytes;
    EXPECT_NE(result.exited.how, Ending::lost) << bytes;
    EXPECT_NE(result.failed.step, Step::template_died) << bytes;
  }
}

TEST_F(Container, RefusesDescriptorsThatProveNothing) {
  const Fd input = files_.file("a.txt", "secret", 0600);
  const Fd output = files_.directory("attempt");
  const std::string path = files_.path() + "/a.txt";
  const auto refused = [this](int input_fd, int output_fd) {
    RunSpec spec{.argv = {"true"}, .output = output_fd};
    if (input_fd >= 0) spec.inputs.push_back({{.name = "x"}, input_fd});
    const auto result = rig_->run(spec);
    EXPECT_FALSE(result.started);
    EXPECT_EQ(result.failed.error, EINVAL);
    return result.failed.step;
  };
  const Fd path_only(::open(path.c_str(), O_PATH | O_CLOEXEC));
  EXPECT_EQ(refused(path_only.get(), -1), Step::input);
  const Fd writable(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(refused(writable.get(), -1), Step::input);
  EXPECT_EQ(refused(output.get(), -1), Step::input);
  const Fd of_root(::open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(refused(-1, of_root.get()), Step::output);
  const Fd directory_path(::open((files_.path() + "/attempt").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(refused(-1, directory_path.get()), Step::output);
  EXPECT_EQ(refused(-1, input.get()), Step::output);
}

TEST_F(Container, TellsThatAnInputWasReplacedAfterItWasOpened) {
  const Fd input = files_.file("a.txt", "old");
  ASSERT_EQ(::unlink((files_.path() + "/a.txt").c_str()), 0);
  const auto result = rig_->run({.argv = {"true"}, .inputs = {{{.name = "a.txt"}, input.get()}}});
  EXPECT_EQ(result.failed.step, Step::input);
  EXPECT_EQ(result.failed.error, ENOENT);
}

TEST_F(Container, UsesTheDaemonsIdWhereTheFileSystemRefusesIdMaps) {
  // /proc refuses idmapped mounts, as overlay does.
  const Fd refusing(::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  rig_->send(Prepare{.template_id = 5, .probe_directory = true}, {refusing.get()});
  EXPECT_EQ(rig_->await<Prepared>().files, FileAccess::daemon_uid);
  const Fd input = files_.file("a.txt", "some input", 0600);
  const Fd output = files_.directory("attempt");
  const auto result = rig_->run({.template_id = 5,
                                 .argv = {"sh", "-c", "cat /tmp/in/a.txt > /tmp/out/b.txt && id -u"},
                                 .output = output.get(),
                                 .inputs = {{{.name = "a.txt"}, input.get()}}});
  EXPECT_EQ(result.output, "65533\n") << result.errors;
  struct stat status{};
  ASSERT_EQ(::stat((files_.path() + "/attempt/b.txt").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, kDaemonUid);
}

// ---- limits and ends

TEST_F(Container, BoundsScratchSpaceAndInodes) {
  const auto result = rig_->run(
      {.argv = {"sh", "-c",
                "head -c 3000000 /dev/zero > /tmp/a; wc -c < /tmp/a; head -c 3000000 /dev/zero > /dev/shm/a; "
                "wc -c < /dev/shm/a; rm /tmp/a; i=0; while touch /tmp/f$i 2> /dev/null; do i=$((i+1)); done; echo $i"},
       .limits = {.scratch_bytes = kMiB, .scratch_inodes = 50}});
  EXPECT_EQ(result.output.substr(0, 16), "1048576\n1048576\n");
  const int made = std::stoi(result.output.substr(16));
  EXPECT_GT(made, 40);
  EXPECT_LT(made, 50);
}

TEST_F(Container, TellsOutOfMemoryApartFromAKill) {
  MILLRACE_NEEDS_CONTROL(memory);
  const auto eaten = probe({"eat", std::to_string(64 * kMiB)}, {.memory_bytes = 16 * kMiB});
  EXPECT_EQ(eaten.exited.how, Ending::signal);
  EXPECT_TRUE(eaten.exited.out_of_memory);
  const auto code = probe({"exit", "137"}, {.memory_bytes = 16 * kMiB});
  EXPECT_EQ(code.exited.value, 137U);
  EXPECT_FALSE(code.exited.out_of_memory);
  const auto child = probe({"eat-in-child", std::to_string(64 * kMiB)}, {.memory_bytes = 16 * kMiB});
  EXPECT_TRUE(child.exited.out_of_memory);
}

TEST_F(Container, CountsTmpfsAsMemory) {
  MILLRACE_NEEDS_CONTROL(memory);
  const auto result = rig_->run({.argv = {"sh", "-c", "head -c 60000000 /dev/zero > /tmp/a"},
                                 .limits = {.memory_bytes = 16 * kMiB, .scratch_bytes = 64 * kMiB}});
  EXPECT_TRUE(result.exited.out_of_memory);
}

TEST_F(Container, LimitsProcessesAndThreads) {
  MILLRACE_NEEDS_CONTROL(pids);
  EXPECT_EQ(probe({"forks", "100"}, {.pids = 10}).output, "9\n");
}

TEST_F(Container, KillEndsTheWholeTreeHoweverItHides) {
  for (const char* what : {"ignore-term", "stopped-child", "fork-bomb"}) {
    const auto run = rig_->start(probe_spec({what}, {.pids = 200}));
    rig_->await_output(run, "ready");
    rig_->send(Kill{.run = run, .signal = KillSignal::kill});
    const auto result = rig_->finish(run);
    EXPECT_EQ(result.exited.how, Ending::signal) << what;
    EXPECT_EQ(result.exited.value, static_cast<std::uint32_t>(SIGKILL)) << what;
  }
  auto spec = probe_spec({});
  spec.argv = {"sh", "-c", "/tmp/in/probe daemonize; exec /tmp/in/probe pause"};
  const auto run = rig_->start(spec);
  rig_->await_output(run, "ready\nready");
  rig_->send(Kill{.run = run, .signal = KillSignal::kill});
  EXPECT_EQ(rig_->finish(run).exited.how, Ending::signal);
}

TEST_F(Container, EndsADaemonisedTreeWithItsRun) {
  EXPECT_EQ(probe({"daemonize"}).exited.how, Ending::code);
}

TEST_F(Container, TermReachesAHandler) {
  const auto run = rig_->start(probe_spec({"on-term"}));
  rig_->await_output(run, "ready");
  rig_->send(Kill{.run = run, .signal = KillSignal::term});
  EXPECT_EQ(rig_->finish(run).exited.value, 7U);
}

TEST_F(Container, KillMayOvertakeTheStart) {
  for (int i = 0; i < 20; ++i) {
    const auto run = rig_->start(probe_spec({"pause"}));
    rig_->send(Kill{.run = run, .signal = KillSignal::kill});
    EXPECT_EQ(rig_->finish(run).exited.how, Ending::signal);
  }
}

TEST_F(Container, RunsSideBySide) {
  std::vector<std::uint64_t> runs;
  for (int i = 0; i < 20; ++i) runs.push_back(rig_->start(probe_spec({"pause"})));
  for (const auto run : runs) rig_->await_output(run, "ready");
  for (const auto run : runs) rig_->send(Kill{.run = run});
  for (const auto run : runs) EXPECT_EQ(rig_->finish(run).exited.how, Ending::signal);
}

TEST_F(Container, DropEndsItsRunsAndForgetsTheTemplate) {
  const auto run = rig_->start(probe_spec({"pause"}));
  rig_->await<Started>();
  rig_->send(Drop{.template_id = 1});
  EXPECT_EQ(rig_->finish(run).exited.how, Ending::signal);
  EXPECT_EQ(probe({"exit", "0"}).failed.error, ENOENT);
}

TEST_F(Container, AKilledTemplateLosesItsRunsAndIsBuiltAnew) {
  const auto run = rig_->start(probe_spec({"pause"}));
  rig_->await<Started>();
  ASSERT_EQ(::kill(template_pid(), SIGKILL), 0);
  EXPECT_EQ(rig_->finish(run).exited.how, Ending::lost);
  EXPECT_EQ(probe({"exit", "6"}).exited.value, 6U);
}

TEST_F(Container, AKilledLauncherTakesEverythingAlong) {
  const auto run = rig_->start(probe_spec({"pause"}));
  rig_->await_output(run, "ready");
  rig_->kill_launcher();
  // finish() cannot be told the end; the end of the pipe tells that the sandbox is gone.
  rig_->await_end_of_output(run);
  rig_->restart();
  rig_->prepare(1, Kind::container);
  EXPECT_EQ(probe({"exit", "4"}).exited.value, 4U);
}

TEST_F(Container, TheNextDaemonStartsFromNothing) {
  const auto run = rig_->start(probe_spec({"ignore-term"}));
  rig_->await_output(run, "ready");
  rig_->hand_over_new_daemon();
  rig_->await_end_of_output(run);
  EXPECT_EQ(probe({"exit", "0"}).failed.error, ENOENT);
  rig_->prepare(1, Kind::container);
  EXPECT_EQ(probe({"exit", "2"}).exited.value, 2U);
}

TEST_F(Container, ClosingTheLifeLineLeavesNothing) {
  const auto run = rig_->start(probe_spec({"ignore-term"}));
  rig_->await_output(run, "ready");
  rig_->close_life_line();
  EXPECT_EQ(rig_->await_launcher_end(), 0);
  rig_->await_end_of_output(run);
  EXPECT_EQ(count_cgroups(rig_->prefix()), 0U);
}

TEST_F(Container, LauncherAndTemplateStaySmall) {
  constexpr std::size_t kResidentKib = 4096;
  const auto resident = [](pid_t pid) {
    const std::string status = read_text("/proc/" + std::to_string(pid) + "/status");
    return std::stoul(status.substr(status.find("VmRSS:") + 6));
  };
  for (int i = 0; i < 50; ++i) probe({"exit", "0"});
  EXPECT_LT(resident(rig_->pid()), kResidentKib);
  EXPECT_LT(resident(template_pid()), kResidentKib);
}

TEST_F(Container, RefusesATemplateItCannotBuild) {
  const Fd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  rig_->send(Prepare{.template_id = 9, .script = true}, {nothing.get()});
  const auto failed = rig_->await<PrepareFailed>();
  EXPECT_EQ(failed.template_id, 9U);
  EXPECT_EQ(failed.step, Step::script);
  EXPECT_NE(failed.text, "");
}

TEST_F(Container, TwoThousandRunsLeaveNothing) {
  const Fd output = files_.directory("attempt");
  const auto once = [this, &output] {
    auto spec = probe_spec({"exit", "0"}, {.memory_bytes = 64 * kMiB});
    spec.output = output.get();
    EXPECT_EQ(rig_->run(spec).exited.value, 0U);
  };
  // First as many side by side as the pools will ever need here.
  std::vector<std::uint64_t> runs;
  for (int i = 0; i < 10; ++i) runs.push_back(rig_->start(probe_spec({"pause"})));
  for (const auto run : runs) rig_->await_output(run, "ready");
  const auto all_there = [this, &runs] { return direct_children(template_pid()).size() == runs.size() + 1; };
  ASSERT_TRUE(comes_true(all_there)) << "they, and the sandbox that waits";
  // While they run, since afterwards the launcher is replacing groups, each of which is gone for a moment.
  const auto descriptors = count_descriptors(rig_->pid());
  const auto cgroups = count_cgroups(rig_->prefix());
  const auto mounts = count_mounts();
  for (const auto run : runs) rig_->send(Kill{.run = run});
  for (const auto run : runs) rig_->finish(run);
  for (int i = 0; i < 2000; ++i) once();
  EXPECT_TRUE(falls_to(descriptors, [this] { return count_descriptors(rig_->pid()); }));
  EXPECT_TRUE(falls_to(cgroups, [this] { return count_cgroups(rig_->prefix()); }));
  EXPECT_EQ(count_mounts(), mounts);
  const pid_t of_template = template_pid();
  // Nothing of the runs is left in the template either, which alone holds their namespaces: three descriptors for each
  // of the ten that were side by side and the sandbox that waits, and its own.
  EXPECT_TRUE(falls_to(45, [of_template] { return count_descriptors(of_template); }));
  EXPECT_TRUE(falls_to(1, [of_template] { return direct_children(of_template).size(); })) << "more than the spare";
}

}  // namespace
}  // namespace millrace::launcher
