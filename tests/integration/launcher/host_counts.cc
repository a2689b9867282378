#include "tests/integration/launcher/host_counts.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>
#include <vector>

namespace millrace::launcher {
namespace {

constexpr std::chrono::minutes kHangGuard(1);
constexpr int kGroupDepthMax = 4;  // below /sys/fs/cgroup

// The groups of this name: in each v1 hierarchy, at the root of v2 or in a group that was given to us. Others come and
// go meanwhile, so each directory is read by itself.
std::vector<std::filesystem::path> groups_named(const std::string& prefix,
                                                const std::filesystem::path& below = "/sys/fs/cgroup", int depth = 0) {
  std::error_code ignored;
  std::vector<std::filesystem::path> found;
  std::filesystem::directory_iterator at(below, ignored);
  for (const auto end = std::filesystem::directory_iterator(); at != end; at.increment(ignored)) {
    if (!at->is_directory(ignored)) continue;
    if (at->path().filename() == prefix) found.push_back(at->path());
    if (depth < kGroupDepthMax)
      std::ranges::move(groups_named(prefix, at->path(), depth + 1), std::back_inserter(found));
  }
  return found;
}

// Itself and those below. A group may go while it is looked at, which counts as none below.
std::size_t count_groups(const std::filesystem::path& path) {
  std::size_t count = 1;
  std::error_code ignored;
  std::filesystem::directory_iterator at(path, ignored);
  for (const auto end = std::filesystem::directory_iterator(); at != end; at.increment(ignored)) {
    if (at->is_directory(ignored)) count += count_groups(at->path());
  }
  return count;
}

}  // namespace

std::size_t count_cgroups(const std::string& prefix) {
  std::size_t count = 0;
  for (const auto& path : groups_named(prefix)) count += count_groups(path);
  return count;
}

std::string read_group_file(const std::string& prefix, const std::string& name) {
  std::error_code ignored;
  for (const auto& path : groups_named(prefix)) {
    for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
      const bool of_a_run = entry.path().filename().string().starts_with("run-");
      if (!of_a_run || read_text(entry.path() / "cgroup.procs").empty()) continue;
      if (std::filesystem::exists(entry.path() / name, ignored)) return read_text(entry.path() / name);
    }
  }
  return {};
}

namespace {

// Other programs mount and unmount meanwhile: this one and its launchers see mounts of their own.
class OwnMounts : public testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() != 0) return;
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  }
};

const testing::Environment* const kOwnMounts = testing::AddGlobalTestEnvironment(new OwnMounts);

std::size_t count_entries(const std::string& path) {
  std::error_code ignored;
  const auto entries = std::filesystem::directory_iterator(path, ignored);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

}  // namespace

std::size_t count_descriptors(pid_t pid) {
  return count_entries("/proc/" + std::to_string(pid) + "/fd");
}

std::size_t count_mounts() {
  if (::geteuid() != 0) return 0;
  const std::string text = read_text("/proc/self/mountinfo");
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

std::set<pid_t> direct_children(pid_t pid) {
  std::istringstream text(read_text("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children"));
  return {std::istream_iterator<pid_t>(text), std::istream_iterator<pid_t>()};
}

bool comes_true(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kHangGuard;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

bool falls_to(std::size_t most, const std::function<std::size_t()>& count) {
  return comes_true([&] { return count() <= most; });
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();  // of a process that is gone it is empty; iterators of the buffer would throw
  return text.str();
}

TestDirectory::TestDirectory(const std::string& below) {
  std::string name = below + "/millrace-launcher-XXXXXX";
  EXPECT_NE(::mkdtemp(name.data()), nullptr);
  path_ = name;
  EXPECT_EQ(::chmod(path_.c_str(), 0755), 0);
  if (::geteuid() == 0) EXPECT_EQ(::chown(path_.c_str(), kDaemonUid, kDaemonUid), 0);
}

TestDirectory::~TestDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Fd TestDirectory::file(const std::string& name, const std::string& content, mode_t mode) const {
  const std::string path = path_ + "/" + name;
  {
    const Fd made(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    EXPECT_EQ(::write(made.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
    if (::geteuid() == 0) EXPECT_EQ(::fchown(made.get(), kDaemonUid, kDaemonUid), 0);
    EXPECT_EQ(::fchmod(made.get(), mode), 0);
  }
  return Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

Fd TestDirectory::directory(const std::string& name, mode_t mode) const {
  const std::string path = path_ + "/" + name;
  EXPECT_EQ(::mkdir(path.c_str(), mode), 0);
  if (::geteuid() == 0) EXPECT_EQ(::chown(path.c_str(), kDaemonUid, kDaemonUid), 0);
  return Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace millrace::launcher
