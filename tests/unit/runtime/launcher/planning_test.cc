// What the launcher decides before it makes a system call.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "runtime/launcher/cgroup.h"
#include "runtime/launcher/cgroup_mounts.h"
#include "runtime/launcher/channel.h"
#include "runtime/launcher/container_support.h"
#include "runtime/launcher/host_image.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/quiet.h"
#include "runtime/launcher/spawn.h"

namespace millrace::launcher {
namespace {

using Paths = std::vector<std::string>;

TEST(ProgramCandidates, FollowThePathAsExecvpDoes) {
  EXPECT_EQ(program_candidates("/bin/sh", "/a:/b"), Paths{"/bin/sh"});
  EXPECT_EQ(program_candidates("./x", "/a"), Paths{"./x"});
  EXPECT_EQ(program_candidates("sh", "/usr/bin:/bin"), (Paths{"/usr/bin/sh", "/bin/sh"}));
  EXPECT_EQ(program_candidates("sh", "/bin::/x:"), (Paths{"/bin/sh", "./sh", "/x/sh", "./sh"}));
  EXPECT_EQ(program_candidates("sh", ""), Paths{"./sh"});
}

std::vector<Fd> null_descriptors(std::size_t count) {
  std::vector<Fd> made;
  for (std::size_t i = 0; i < count; ++i) made.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
  return made;
}

Spawn spawn_of(const std::vector<std::string>& argv, const std::vector<std::string>& environment = {}) {
  return {.run = 1, .program = *pack_program(argv, environment)};
}

TEST(SpawnPlan, RefusesAWrongNumberOfDescriptors) {
  EXPECT_TRUE(SpawnPlan::make(spawn_of({"true"}), null_descriptors(3)));
  for (const std::size_t count : {0U, 2U, 4U}) {
    const auto plan = SpawnPlan::make(spawn_of({"true"}), null_descriptors(count));
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().step, Step::request);
    EXPECT_EQ(plan.error().error, EINVAL);
  }
}

TEST(SpawnPlan, RefusesAMalformedProgram) {
  Spawn request = spawn_of({"true"});
  request.program.pop_back();
  EXPECT_FALSE(SpawnPlan::make(request, null_descriptors(3)));
  // Announced in a memfd, but the descriptor is none.
  request.program.clear();
  EXPECT_FALSE(SpawnPlan::make(request, null_descriptors(4)));
}

TEST(SpawnPlan, AssignsDescriptorsInTheOrderOfTheProtocol) {
  auto program = sealed_memfd(*pack_program({"a-program-with-a-name"}, {}));
  ASSERT_TRUE(program);
  Spawn request{.run = 1, .output = true, .inputs = {{.name = "one"}, {.name = "two", .mode = InputMode::copy}}};
  auto descriptors = null_descriptors(7);
  descriptors[3] = std::move(*program);
  std::vector<int> numbers;
  for (const Fd& fd : descriptors) numbers.push_back(fd.get());
  auto plan = SpawnPlan::make(std::move(request), std::move(descriptors));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->child().stdio, (std::array{numbers[0], numbers[1], numbers[2]}));
  EXPECT_EQ(plan->child().output, numbers[4]);
}

TEST(ControlGroups, ExpressCpuAsTheKernelCounts) {
  EXPECT_EQ(cpu_shares_of(1000), 1024U);
  EXPECT_EQ(cpu_shares_of(500), 512U);
  EXPECT_EQ(cpu_shares_of(0), 1024U);
  EXPECT_EQ(cpu_shares_of(1), 2U);
  EXPECT_EQ(cpu_shares_of(4'000'000), 262'144U);
  EXPECT_EQ(cpu_quota_us_of(1000), kCpuPeriodUs);
  EXPECT_EQ(cpu_quota_us_of(200), 20'000U);
  EXPECT_EQ(cpu_quota_us_of(1), 1000U);
  EXPECT_EQ(cpu_quota_us_of(4'000'000'000), 400'000'000'000U);
}

TEST(CgroupMounts, AreFoundOnHybridHosts) {
  const auto mounts = parse_cgroup_mounts(
      "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
      "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
      "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
      "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
  EXPECT_EQ(mounts.cpu, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(mounts.cpuacct, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(mounts.memory, "/sys/fs/cgroup/memory");
  EXPECT_EQ(mounts.pids, "/sys/fs/cgroup/pids");
  EXPECT_EQ(mounts.v2, "/sys/fs/cgroup/unified");
  EXPECT_EQ(mounts.hierarchies().size(), 4U);
}

TEST(CgroupMounts, AreAbsentWhereThereAreNone) {
  for (const char* text : {"", "\n\n", "no dash here\n", " - cgroup\n", "1 2 3 4 - cgroup2"}) {
    const auto mounts = parse_cgroup_mounts(text);
    EXPECT_TRUE(mounts.cpu.empty()) << text;
    EXPECT_TRUE(mounts.memory.empty()) << text;
  }
}

TEST(HostImage, FindsWhatIsMountedBelowAPart) {
  const std::string mountinfo =
      "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /usr rw - ext4 /dev/b rw\n3 2 8:3 / /usr/local rw - ext4 /dev/c rw\n"
      "4 1 8:4 / /usrx/y rw - ext4 /dev/d rw\n5 1 8:5 / /usr/with\\040space rw - ext4 /dev/e rw\nbroken\n";
  EXPECT_EQ(mounts_below(mountinfo, "/usr"), Paths{"/usr/local"});
  EXPECT_EQ(mounts_below(mountinfo, "/etc"), Paths{});
  EXPECT_EQ(mounts_below("", "/usr"), Paths{});
}

TEST(IdMap, CoversTheRangeOnceWithOneSharedRoot) {
  EXPECT_EQ(function_id_map(1, 0), "0 1879048192 1\n1 1879113729 65535\n");
  EXPECT_EQ(run_host_id(1), 1879048192U + 65536 + 65533);
}

TEST(IdMap, GivesTheRunTheDaemonsIdWhereAsked) {
  EXPECT_EQ(function_id_map(2, 998), "0 1879048192 1\n1 1879179265 65532\n65533 998 1\n65534 1879244798 2\n");
}

TEST(IdMap, KeepsTheTemplateBesideRunsThatHaveIdZero) {
  EXPECT_EQ(root_id_map(1, 0), "0 1879113728 65535\n65535 1879048192 1\n");
  EXPECT_EQ(root_id_map(1, 998), "0 998 1\n1 1879113729 65534\n65535 1879048192 1\n");
  EXPECT_EQ(root_host_id(1), 1879113728U);
}

Result<LauncherOptions> parse(std::vector<const char*> arguments) {
  return parse_launcher_options(arguments);
}

TEST(LauncherOptions, AreReadFromArguments) {
  const auto options = parse({"--prefix=millrace-1a", "--daemon-uid=998", "--daemon-gid=997", "--show=/srv/models",
                              "--hide=/etc/ssh", "--hide=/opt/x"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->prefix, "millrace-1a");
  EXPECT_EQ(options->daemon_uid, 998U);
  EXPECT_EQ(options->daemon_gid, 997U);
  EXPECT_EQ(options->show, Paths{"/srv/models"});
  EXPECT_EQ(options->hide, (Paths{"/etc/ssh", "/opt/x"}));
}

TEST(LauncherOptions, RefuseWhatIsMissingOrMalformed) {
  const char* prefix = "--prefix=a";
  const char* uid = "--daemon-uid=1";
  const char* gid = "--daemon-gid=1";
  EXPECT_TRUE(parse({prefix, uid, gid}));
  EXPECT_FALSE(parse({}));
  EXPECT_FALSE(parse({prefix, uid}));
  EXPECT_FALSE(parse({prefix, gid}));
  EXPECT_FALSE(parse({uid, gid}));
  for (const char* bad :
       {"--prefix=", "--prefix=a/b", "--prefix=..", "--daemon-uid=", "--daemon-uid=-1", "--daemon-uid=4294967295",
        "--daemon-uid=4294967296", "--daemon-uid=1x", "--show=relative", "--show=/", "--show=/tmp/x", "--show=/dev",
        "--show=/a/../b", "--show=/a//b", "--hide=/a/", "--unknown=1", "word", ""}) {
    EXPECT_FALSE(parse({prefix, uid, gid, bad})) << bad;
  }
  EXPECT_TRUE(parse({prefix, uid, gid, "--show=/tmpx", "--hide=/tmp/x"}));
  const std::string longest = "--prefix=" + std::string(64, 'a');
  const std::string longer = "--prefix=" + std::string(65, 'a');
  EXPECT_TRUE(parse({longest.c_str(), uid, gid}));
  EXPECT_FALSE(parse({longer.c_str(), uid, gid}));
}

class QuietCheck : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
    path_ = directory_ + "/file";
    std::ofstream(path_) << "content";
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(directory_.c_str());
  }
  Fd open(int flags) const { return Fd(::open(path_.c_str(), flags | O_CLOEXEC)); }

  std::string directory_ = "/tmp/millrace-quiet-XXXXXX";
  std::string path_;
};

TEST_F(QuietCheck, SeesAWriter) {
  const Fd reader = open(O_RDONLY);
  EXPECT_EQ(check_quiet(reader.get()), Quietness::quiet);
  {
    const Fd writer = open(O_WRONLY);
    EXPECT_EQ(check_quiet(reader.get()), Quietness::open_for_writing);
  }
  EXPECT_EQ(check_quiet(reader.get()), Quietness::quiet);
}

TEST_F(QuietCheck, CannotTellForOtherKindsOfDescriptors) {
  EXPECT_EQ(check_quiet(open(O_WRONLY).get()), Quietness::unsupported);
  EXPECT_EQ(check_quiet(open(O_PATH).get()), Quietness::unsupported);
  const Fd device(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(check_quiet(device.get()), Quietness::unsupported);
  EXPECT_EQ(check_quiet(-1), Quietness::unsupported);
}

}  // namespace
}  // namespace millrace::launcher
