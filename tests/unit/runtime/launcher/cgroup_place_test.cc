// Finding one's own group in the v2 hierarchy, and what control files say.
#include "runtime/launcher/cgroup_place.h"

#include <gtest/gtest.h>

#include <string>

#include "runtime/launcher/cgroup.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

TEST(OwnGroup, IsTheLineWithoutControllers) {
  EXPECT_EQ(own_group_of("0::/system.slice/millrace.service\n"), "/system.slice/millrace.service");
  EXPECT_EQ(own_group_of("9:name=systemd:/a\n4:memory:/b\n0::/\n"), "/");
  EXPECT_EQ(own_group_of("0::/no/newline"), "/no/newline");
}

TEST(OwnGroup, IsNoneWithoutTheHierarchy) {
  EXPECT_EQ(own_group_of(""), "");
  EXPECT_EQ(own_group_of("4:memory:/b\n"), "");
  EXPECT_EQ(own_group_of("0::\n"), "");
}

CgroupMounts mounted(const std::string& root) {
  return parse_cgroup_mounts("24 1 0:22 " + root + " /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
}

TEST(DirectoryOfGroup, LiesBelowTheMount) {
  const auto whole = mounted("/");
  EXPECT_EQ(directory_of_group(whole, "/"), "/sys/fs/cgroup");
  EXPECT_EQ(directory_of_group(whole, ""), "/sys/fs/cgroup");
  EXPECT_EQ(directory_of_group(whole, "/a/b.service"), "/sys/fs/cgroup/a/b.service");
}

TEST(DirectoryOfGroup, KnowsThatAMountShowsAPartOnly) {
  const auto part = mounted("/docker/abc");
  EXPECT_EQ(directory_of_group(part, "/docker/abc"), "/sys/fs/cgroup");
  EXPECT_EQ(directory_of_group(part, "/docker/abc/service"), "/sys/fs/cgroup/service");
  // Beside it, or with a name that only begins like it: not to be seen.
  EXPECT_EQ(directory_of_group(part, "/docker/abcdef"), "/sys/fs/cgroup");
  EXPECT_EQ(directory_of_group(part, "/other"), "/sys/fs/cgroup");
}

TEST(CpuWeight, IsInPartsOfOneCore) {
  EXPECT_EQ(cpu_weight_of(0), 100U);
  EXPECT_EQ(cpu_weight_of(1000), 100U);
  EXPECT_EQ(cpu_weight_of(500), 50U);
  EXPECT_EQ(cpu_weight_of(1), 1U);
  EXPECT_EQ(cpu_weight_of(4'000'000), 10'000U);
}

TEST(KeyedNumber, FollowsItsKeyAtTheStartOfALine) {
  const std::string stat = "usage_usec 120\nuser_usec 80\nnr_throttled 2\nthrottled_usec 7\n";
  EXPECT_EQ(keyed_number(stat, "usage_usec"), 120U);
  EXPECT_EQ(keyed_number(stat, "throttled_usec"), 7U);
  EXPECT_EQ(keyed_number("oom 3\noom_kill 5\noom_group_kill 1\n", "oom_kill"), 5U);
}

TEST(KeyedNumber, IsNoneForWhatIsNotThere) {
  for (const char* text : {"", "\n", "usage_usec", "usage_usec \n", "usage_usec max\n", " usage_usec 1\n"}) {
    EXPECT_EQ(keyed_number(text, "usage_usec"), std::nullopt) << text;
  }
  EXPECT_EQ(parse_number("max\n"), std::nullopt);
  EXPECT_EQ(parse_number("42\n"), 42U);
}

}  // namespace
}  // namespace millrace::launcher
