// Containers made by OCI runtimes of this machine: images, secrets, profiles, limits, and what is left when somebody
// dies.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tests/integration/launcher/launcher_rig.h"
#include "tests/integration/launcher/test_image.h"
#include "tests/support/oci_runtime.h"

namespace millrace::launcher {
namespace {

// In every hierarchy, also in those of which only the runtime makes use.
std::size_t count_groups(const std::string& prefix) {
  std::size_t count = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at("/sys/fs/cgroup", error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().string().find(prefix) != std::string::npos && at->is_directory(error)) ++count;
    // Groups of others come and go meanwhile.
    error.clear();
  }
  return count;
}

class OciTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    MILLRACE_NEEDS_BUSYBOX();
    const std::string flag = test::oci_runtime_flag(GetParam());
    if (flag.empty()) GTEST_SKIP() << GetParam() << " is not installed: scripts/install_packages test";
    image_.emplace();
    rig_.emplace(LauncherRig::As::root, std::vector<std::string>{"--images=" + image_->place(), flag});
    ASSERT_EQ(rig_->hello().runtimes, std::vector<std::string>{GetParam()}) << rig_->hello().no_runtimes;
  }

  void prepare(Image kind, Profile profile = Profile::strict, const std::vector<ProvidedFile>& provided = {}) {
    const Fd directory = image_->open();
    rig_->prepare({.template_id = 1, .kind = Kind::oci, .profile = profile, .image = kind, .runtime = GetParam()},
                  kind == Image::host ? -1 : directory.get(), provided, "#!/bin/sh\necho script ran\n");
  }
  RunResult run(const std::string& script, const Limits& limits = {}) {
    return rig_->run({.argv = {"/bin/sh", "-c", script}, .limits = limits});
  }
  std::string shell(const std::string& script) {
    const auto result = run(script);
    EXPECT_TRUE(result.started) << name_of(result.failed.step) << " " << result.failed.error << result.failed.text;
    return result.output + result.errors;
  }

  std::optional<TestImage> image_;
  std::optional<LauncherRig> rig_;
};

INSTANTIATE_TEST_SUITE_P(Runtimes, OciTest, testing::Values("runc", "crun"),
                         [](const auto& info) { return info.param; });

TEST_P(OciTest, ShowsADirectoryReadOnlyWithItsOwners) {
  prepare(Image::directory);
  EXPECT_EQ(shell("id -u; stat -c '%u %g' /etc/passwd; cat /etc/secret-of-root; /oscar/config/script.sh"),
            "0\n0 0\nonly for root\nscript ran\n");
  EXPECT_EQ(shell("touch /data/x 2>&1; touch /x 2>&1; touch /tmp/x && echo ok"),
            "touch: /data/x: Read-only file system\ntouch: /x: Read-only file system\nok\n");
}

TEST_P(OciTest, CopyOnWriteTakesChangesAndForgetsThem) {
  prepare(Image::directory_copy);
  EXPECT_EQ(shell("echo new >/data/new; rm /bin/wc; cat /data/new; ls /bin/wc"),
            "new\nls: /bin/wc: No such file or directory\n");
  EXPECT_EQ(shell("ls /data; ls /bin/wc"), "/bin/wc\n");
  EXPECT_FALSE(std::filesystem::exists(image_->path() + "/data/new"));
  const auto full = run("dd if=/dev/zero of=/data/big bs=64k count=64 2>&1", {.scratch_bytes = 1 << 20});
  EXPECT_NE((full.output + full.errors).find("No space left"), std::string::npos) << full.output << full.errors;
}

TEST_P(OciTest, SecretsAreFilesOfTheRunsUserOnly) {
  prepare(Image::host, Profile::strict,
          {{.path = "key", .content = "geheim", .secret = true},
           {.path = "/etc/my.conf", .content = "conf", .secret = false}});
  EXPECT_EQ(shell("stat -c '%a %u' /run/secrets/key; cat /run/secrets/key /etc/my.conf; echo x 2>&1 >/run/secrets/key"),
            "400 65533\ngeheimconf/bin/sh: 1: cannot create /run/secrets/key: Read-only file system\n");
}

TEST_P(OciTest, StrictHasNoCapabilityAndCompatThoseOfTheTable) {
  prepare(Image::directory);
  EXPECT_EQ(shell("grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; chown 1000 /tmp 2>&1"),
            "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
            "chown: /tmp: Operation not permitted\n");
  rig_->send(Drop{.template_id = 1});
  prepare(Image::directory_copy, Profile::compat);
  // chown, dac_override, fowner, fsetid, kill, setgid, setuid, net_bind_service
  EXPECT_EQ(
      shell("grep -E 'CapEff|CapBnd' /proc/self/status; touch /data/a && chown 1000 /data/a && stat -c %u /data/a"),
      "CapEff:\t00000000000004fb\nCapBnd:\t00000000000004fb\n1000\n");
}

TEST_P(OciTest, HoldsLimitsAndTellsUsage) {
  for (const Control control : {Control::memory, Control::pids}) {
    if (rig_->hello().of(control).support != Support::real) GTEST_SKIP() << rig_->hello().of(control).reason;
  }
  prepare(Image::host);
  const auto big =
      run("head -c 200000000 /dev/zero | tail -c 150000000 | wc -c", {.memory_bytes = 48 << 20, .pids = 32});
  ASSERT_TRUE(big.started) << big.failed.text;
  EXPECT_TRUE(big.exited.out_of_memory);
  const auto small =
      run("head -c 20000000 /dev/zero | tail -c 15000000 | wc -c", {.memory_bytes = 128 << 20, .pids = 32});
  ASSERT_TRUE(small.started) << small.failed.text;
  EXPECT_FALSE(small.exited.out_of_memory);
  EXPECT_EQ(small.exited.value, 0U) << small.errors;
  EXPECT_GT(small.exited.usage.cpu_us, 0U);
  EXPECT_GE(small.exited.usage.memory_peak_bytes, 15'000'000U);
  EXPECT_LT(small.exited.usage.memory_peak_bytes, 128U << 20);
  const auto many = run("i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo all", {.pids = 20});
  EXPECT_EQ(many.output.find("all"), std::string::npos);
}

TEST_P(OciTest, ACopiedInputThatExceedsTheMemoryIsOutOfMemory) {
  if (rig_->hello().of(Control::memory).support != Support::real)
    GTEST_SKIP() << rig_->hello().of(Control::memory).reason;
  prepare(Image::host);
  const Fd memory(::memfd_create("input", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 64 << 20), 0);
  const auto copy = [&](std::uint64_t memory_bytes) {
    return rig_->run({.argv = {"/bin/sh", "-c", "wc -c < /tmp/in/m"},
                      .limits = {.memory_bytes = memory_bytes, .scratch_bytes = 128 << 20},
                      .inputs = {{{.name = "m", .mode = InputMode::copy}, memory.get()}}});
  };
  const auto heavy = copy(32 << 20);
  EXPECT_TRUE(heavy.started && heavy.exited.out_of_memory) << name_of(heavy.failed.step) << heavy.failed.error;
  EXPECT_EQ(heavy.exited.value, SIGKILL);
  const auto fits = copy(128 << 20);
  EXPECT_EQ(fits.output, "67108864\n") << name_of(fits.failed.step) << fits.failed.text;
}

TEST_P(OciTest, NamesThePrograms) {
  prepare(Image::directory);
  const auto absent = rig_->run({.argv = {"/bin/absent"}});
  EXPECT_FALSE(absent.started);
  EXPECT_EQ(absent.failed.step, Step::exec);
  EXPECT_EQ(absent.failed.error, ENOENT);
  image_->write("bin/script", "#!/bin/no-such-interpreter\n");
  std::filesystem::permissions(image_->path() + "/bin/script", std::filesystem::perms(0755));
  EXPECT_EQ(rig_->run({.argv = {"/bin/script"}}).failed.error, ENOENT);
  EXPECT_EQ(rig_->run({.argv = {"/etc/passwd"}}).failed.error, EACCES);
  image_->write("bin/text", "just words\n");
  std::filesystem::permissions(image_->path() + "/bin/text", std::filesystem::perms(0755));
  EXPECT_EQ(rig_->run({.argv = {"/bin/text"}}).failed.error, ENOEXEC);
  const auto long_argument = rig_->run({.argv = {"/bin/echo", std::string(140 * 1024, 'x')}});
  EXPECT_EQ(long_argument.failed.step, Step::exec);
  EXPECT_EQ(long_argument.failed.error, E2BIG);
  const auto no_text = rig_->run({.argv = {"/bin/echo", "\xff"}});
  EXPECT_EQ(no_text.failed.step, Step::request);
  EXPECT_EQ(no_text.failed.error, EILSEQ);
}

TEST_P(OciTest, LeavesNothingBehind) {
  prepare(Image::directory_copy);
  EXPECT_EQ(shell("echo first"), "first\n");  // what runtimes make once is made
  ASSERT_TRUE(falls_to(0, [this] { return count_groups(rig_->prefix()) > 40 ? std::size_t{1} : std::size_t{0}; }));
  const std::size_t mounts = count_mounts();
  const std::size_t descriptors = count_descriptors(rig_->pid());
  const std::size_t groups = count_groups(rig_->prefix());
  for (int i = 0; i < 10; ++i) ASSERT_EQ(shell("sleep 100 & echo run"), "run\n");
  EXPECT_EQ(count_mounts(), mounts);
  // A few groups are kept ready.
  EXPECT_TRUE(falls_to(groups + 30, [this] { return count_groups(rig_->prefix()); }));
  EXPECT_TRUE(falls_to(descriptors + 60, [this] { return count_descriptors(rig_->pid()); }));
  rig_->close_life_line();
  EXPECT_EQ(rig_->await_launcher_end(), 0);
  EXPECT_EQ(count_groups(rig_->prefix()), 0U);
}

TEST_P(OciTest, DiesWithItsLauncherAndTheNextOneSweeps) {
  prepare(Image::host);
  const auto id = rig_->start({.argv = {"/bin/sh", "-c", "echo here; sleep 1000"}});
  rig_->await_output(id, "here");
  const std::string prefix = rig_->prefix();
  rig_->kill_launcher();
  // Whoever held its pipes is gone.
  rig_->await_end_of_output(id);
  rig_->restart();
  prepare(Image::host);
  EXPECT_EQ(shell("echo again"), "again\n");
  rig_->close_life_line();
  EXPECT_EQ(rig_->await_launcher_end(), 0);
  EXPECT_EQ(count_groups(prefix), 0U);
}

TEST_P(OciTest, EndsWithTheDaemonAndServesTheNext) {
  prepare(Image::host);
  const auto id = rig_->start({.argv = {"/bin/sh", "-c", "echo here; sleep 1000"}});
  rig_->await_output(id, "here");
  rig_->hand_over_new_daemon();
  rig_->await_end_of_output(id);
  prepare(Image::host);
  EXPECT_EQ(shell("echo again"), "again\n");
}

class OciTable : public ::testing::Test {
 protected:
  void SetUp() override { MILLRACE_NEEDS_ROOT(); }
};

TEST_F(OciTable, RuntimesThatOthersMayChangeAreNotUsed) {
  const TestDirectory place;
  ASSERT_TRUE(place.file("runtime", "#!/bin/sh\nexit 0\n", 0755));
  LauncherRig rig(LauncherRig::As::root, {"--runtime=mine=" + place.path() + "/runtime", "--runtime=gone=/no/where"});
  EXPECT_TRUE(rig.hello().runtimes.empty());
  EXPECT_NE(rig.hello().no_runtimes.find("others than root may change it"), std::string::npos)
      << rig.hello().no_runtimes;
  EXPECT_NE(rig.hello().no_runtimes.find("/no/where"), std::string::npos) << rig.hello().no_runtimes;
  EXPECT_EQ(rig.refuse_to_prepare({.template_id = 1, .kind = Kind::oci}, -1).step, Step::runtime);
}

TEST_F(OciTable, ARuntimeThatRefusesIsNamedAndLeavesNothing) {
  LauncherRig rig(LauncherRig::As::root, {"--runtime=broken=/bin/false"});
  ASSERT_EQ(rig.hello().runtimes.size(), 1U);
  rig.prepare({.template_id = 1, .kind = Kind::oci}, -1, {});
  const auto result = rig.run({.argv = {"/bin/true"}});
  EXPECT_FALSE(result.started);
  EXPECT_EQ(result.failed.step, Step::runtime);
  EXPECT_EQ(result.failed.text, "broken: it gave no reason");
  rig.close_life_line();
  EXPECT_EQ(rig.await_launcher_end(), 0);
  EXPECT_EQ(count_groups(rig.prefix()), 0U);
}

}  // namespace
}  // namespace millrace::launcher
