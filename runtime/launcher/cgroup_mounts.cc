#include "runtime/launcher/cgroup_mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <string>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr std::size_t kMountinfoBytesMax = 1024 * 1024;
constexpr std::size_t kMembersBytesMax = 256 * 1024;  // of one round; kill_all repeats
constexpr int kSweepDepthMax = 4;

std::string_view next_word(std::string_view& rest, char separator) {
  const auto word = rest.substr(0, rest.find(separator));
  rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  return word;
}

void note_controllers(CgroupMounts& mounts, std::string_view options, std::string_view path) {
  while (!options.empty()) {
    const auto option = next_word(options, ',');
    if (option == "cpu") mounts.cpu = path;
    if (option == "cpuacct") mounts.cpuacct = path;
    if (option == "memory") mounts.memory = path;
    if (option == "pids") mounts.pids = path;
  }
}

void pause_ms(long milliseconds) {
  const timespec time{.tv_sec = 0, .tv_nsec = milliseconds * 1'000'000};
  ::nanosleep(&time, nullptr);
}

std::vector<std::string> subdirectories(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), [](DIR* d) { return ::closedir(d); });
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

void sweep(const std::string& path, int patience_ms, int depth) {
  if (depth > kSweepDepthMax) return;
  for (const std::string& name : subdirectories(path)) sweep(path + "/" + name, patience_ms, depth + 1);
  const Fd directory = open_directory(AT_FDCWD, path.c_str());
  if (!directory) return;
  for (int waited = 0; ::rmdir(path.c_str()) < 0 && errno == EBUSY && waited <= patience_ms; ++waited) {
    // It is removed, so nobody will be born into it again, whom this would kill, too.
    if (!write_file(directory.get(), "cgroup.kill", "1")) kill_members(directory.get());
    pause_ms(1);
  }
}

}  // namespace

std::vector<std::string> CgroupMounts::hierarchies() const {
  std::vector<std::string> all;
  for (const std::string* path : {&cpu, &cpuacct, &memory, &pids, &v2}) {
    if (!path->empty() && std::ranges::find(all, *path) == all.end()) all.push_back(*path);
  }
  return all;
}

CgroupMounts parse_cgroup_mounts(std::string_view mountinfo) {
  CgroupMounts mounts;
  while (!mountinfo.empty()) {
    auto line = next_word(mountinfo, '\n');
    const auto dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    auto tail = line.substr(dash + 3);
    for (int skipped = 0; skipped < 3; ++skipped) next_word(line, ' ');
    const auto root = next_word(line, ' ');
    const auto path = next_word(line, ' ');
    const auto type = next_word(tail, ' ');
    next_word(tail, ' ');
    if (type == "cgroup2") {
      mounts.v2 = path;
      mounts.v2_root = root;
    }
    if (type == "cgroup") {
      mounts.v1.emplace_back(path);
      note_controllers(mounts, tail, path);
    }
  }
  return mounts;
}

CgroupMounts find_cgroup_mounts() {
  const auto text = read_file(AT_FDCWD, "/proc/self/mountinfo", kMountinfoBytesMax);
  return text ? parse_cgroup_mounts(*text) : CgroupMounts{};
}

std::vector<pid_t> members_of(int directory) {
  std::vector<pid_t> pids;
  const auto text = read_file(directory, "cgroup.procs", kMembersBytesMax);
  if (!text) return pids;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const auto line = next_word(rest, '\n');
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), pid);
    // 0 stands for a process outside this pid namespace; kill(0) would end ourselves.
    if (error == std::errc{} && pid > 0) pids.push_back(pid);
  }
  return pids;
}

void kill_members(int directory) {
  // A number from the list may belong to a stranger by the time it is used. So: descriptors first, then the list again;
  // who is still listed is the one that the descriptor means, or lives in this group as well.
  std::vector<std::pair<pid_t, Fd>> held;
  for (const pid_t pid : members_of(directory)) {
    Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (process) held.emplace_back(pid, std::move(process));
    if (held.size() >= 256) break;
  }
  const auto still = members_of(directory);
  for (const auto& [pid, process] : held) {
    if (std::ranges::find(still, pid) != still.end()) signal_process(process.get(), SIGKILL);
  }
}

void sweep_group(const std::string& path, int patience_ms) {
  sweep(path, patience_ms, 0);
}

}  // namespace millrace::launcher
