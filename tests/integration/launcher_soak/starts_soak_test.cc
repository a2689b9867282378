// After thousands of starts there is as much of everything as after the first few: descriptors, mounts, control groups,
// namespaces, processes, memory of the launcher.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/integration/launcher/launcher_rig.h"
#include "tests/support/oci_runtime.h"

namespace millrace::launcher {
namespace {

constexpr int kInFlight = 4;
constexpr std::size_t kGrowthBytesMax = 256 << 10;  // of the launcher's resident memory

std::vector<pid_t> all_processes() {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

pid_t parent_of(pid_t pid) {
  const std::string text = read_text("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = text.rfind(')');
  return name_end == std::string::npos ? -1 : std::stoi(text.substr(name_end + 4));
}

// The process and all below it.
std::set<pid_t> tree_of(pid_t root) {
  std::set<pid_t> tree{root};
  for (bool grown = true; grown;) {
    grown = false;
    for (const pid_t pid : all_processes()) {
      if (tree.contains(parent_of(pid)) && tree.insert(pid).second) grown = true;
    }
  }
  return tree;
}

struct Counts {
  std::size_t descriptors = 0;
  std::size_t mounts = 0;
  std::size_t groups = 0;
  std::size_t namespaces = 0;
  std::size_t processes = 0;
  std::size_t keys = 0;
};

// What belongs to the launcher and its templates, and what of the host they could have changed.
Counts count(const LauncherRig& rig) {
  Counts counts{.mounts = count_mounts(), .groups = count_cgroups(rig.prefix())};
  std::set<std::string> namespaces;
  std::error_code ignored;
  for (const pid_t pid : tree_of(rig.pid())) {
    ++counts.processes;
    counts.descriptors += count_descriptors(pid);
    const std::string folder = "/proc/" + std::to_string(pid);
    const std::string mounts = read_text(folder + "/mountinfo");
    counts.mounts += static_cast<std::size_t>(std::ranges::count(mounts, '\n'));
    for (const auto& entry : std::filesystem::directory_iterator(folder + "/ns", ignored)) {
      namespaces.insert(std::filesystem::read_symlink(entry.path(), ignored));
    }
    for (const auto& entry : std::filesystem::directory_iterator(folder + "/fd", ignored)) {
      const std::string target = std::filesystem::read_symlink(entry.path(), ignored);
      if (target.find(":[") != std::string::npos) namespaces.insert(target);
    }
  }
  std::erase_if(namespaces,
                [](const std::string& name) { return name.starts_with("socket:") || name.starts_with("pipe:"); });
  counts.namespaces = namespaces.size();
  const std::string keys = read_text("/proc/keys");
  counts.keys = static_cast<std::size_t>(std::ranges::count(keys, '\n'));
  return counts;
}

std::size_t resident_bytes(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  std::size_t size = 0;
  std::size_t resident = 0;
  file >> size >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

class StartsSoak : public testing::Test {
 protected:
  void SetUp() override { MILLRACE_NEEDS_ROOT(); }

  // That many starts, kInFlight at a time.
  static void starts(LauncherRig& rig, const RunSpec& spec, int wanted) {
    std::vector<std::uint64_t> running;
    for (int i = 0; i < wanted + kInFlight; ++i) {
      if (i >= kInFlight) {
        const auto result = rig.finish(running.front());
        ASSERT_TRUE(result.started) << name_of(result.failed.step) << " " << result.failed.error;
        ASSERT_EQ(result.exited.value, 0U) << result.errors;
        running.erase(running.begin());
      }
      if (i < wanted) running.push_back(rig.start(spec));
    }
  }

  static void leave_nothing(LauncherRig& rig, const RunSpec& spec, int wanted) {
    starts(rig, spec, 100);
    if (rig.may_have_spare(spec)) rig.make_spare(spec);  // as there is afterwards
    const Counts before = count(rig);
    const std::size_t resident = resident_bytes(rig.pid());
    starts(rig, spec, wanted);
    // Groups and networks that are kept for the next runs vary with how the last ones came, up to what is in flight.
    const auto falls = [&rig](std::size_t Counts::* which, std::size_t most) {
      return falls_to(most, [&rig, which] { return count(rig).*which; });
    };
    EXPECT_TRUE(falls(&Counts::processes, before.processes)) << count(rig).processes << " " << before.processes;
    EXPECT_TRUE(falls(&Counts::mounts, before.mounts)) << count(rig).mounts << " " << before.mounts;
    EXPECT_TRUE(falls(&Counts::namespaces, before.namespaces + kInFlight)) << count(rig).namespaces;
    EXPECT_TRUE(falls(&Counts::groups, before.groups + 5 * kInFlight)) << count(rig).groups << " " << before.groups;
    EXPECT_TRUE(falls(&Counts::descriptors, before.descriptors + 15 * kInFlight))
        << count(rig).descriptors << " " << before.descriptors;
    EXPECT_TRUE(falls(&Counts::keys, before.keys)) << count(rig).keys << " " << before.keys;
    EXPECT_LE(resident_bytes(rig.pid()), resident + kGrowthBytesMax);
    const Counts after = count(rig);
    std::printf(
        "%d starts: processes %zu -> %zu, descriptors %zu -> %zu, mounts %zu -> %zu, groups %zu -> %zu, "
        "namespaces %zu -> %zu, keys %zu -> %zu, resident %zu -> %zu KiB\n",
        wanted, before.processes, after.processes, before.descriptors, after.descriptors, before.mounts, after.mounts,
        before.groups, after.groups, before.namespaces, after.namespaces, before.keys, after.keys, resident >> 10,
        resident_bytes(rig.pid()) >> 10);
    rig.close_life_line();
    EXPECT_EQ(rig.await_launcher_end(), 0);
    EXPECT_EQ(count_cgroups(rig.prefix()), 0U);
  }
};

TEST_F(StartsSoak, TenThousandContainersLeaveNothing) {
  LauncherRig rig;
  rig.prepare(1, Kind::container);
  const TestDirectory files;
  const Fd input = files.file("a.txt", "input");
  const Fd output = files.directory("out");
  leave_nothing(rig,
                {.argv = {"/bin/sh", "-c", "cat /tmp/in/a.txt >/tmp/out/b; sleep 1000 & exit 0"},
                 .limits = {.memory_bytes = 64 << 20, .pids = 20},
                 .output = output.get(),
                 .inputs = {{{.name = "a.txt"}, input.get()}}},
                10'000);
}

TEST_F(StartsSoak, AThousandContainersOfRuncLeaveNothing) {
  const std::string flag = test::oci_runtime_flag("runc");
  if (flag.empty()) GTEST_SKIP() << "runc is not installed: scripts/install_packages test";
  LauncherRig rig(LauncherRig::As::root, {flag});
  rig.prepare(1, Kind::oci);
  leave_nothing(
      rig, {.argv = {"/bin/sh", "-c", "sleep 1000 & exit 0"}, .limits = {.memory_bytes = 64 << 20, .pids = 40}}, 1000);
}

}  // namespace
}  // namespace millrace::launcher
