#include "runtime/launcher/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>

#include <charconv>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>

#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr std::size_t kChildrenBytesMax = 1024 * 1024;
constexpr int kRoundsMax = 16;

void parse_pids(std::string_view text, std::vector<pid_t>& into) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    pid_t pid = 0;
    const auto [next, error] = std::from_chars(at, end, pid);
    if (error == std::errc{} && pid > 0) into.push_back(pid);
    at = next + 1;
  }
}

}  // namespace

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  const std::string tasks = "/proc/" + std::to_string(parent) + "/task";
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(tasks.c_str()), [](DIR* d) { return ::closedir(d); });
  if (directory == nullptr) return children;
  // Every thread has its own list.
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] == '.') continue;
    const std::string path = tasks + "/" + entry->d_name + "/children";
    if (const auto text = read_file(AT_FDCWD, path.c_str(), kChildrenBytesMax)) parse_pids(*text, children);
  }
  return children;
}

void kill_tree(pid_t root) {
  // A stopped process neither forks nor reaps, so what it lists stays what it is.
  std::vector<pid_t> tree{root};
  std::unordered_set<pid_t> known{root};
  ::kill(root, SIGSTOP);
  bool grew = true;
  for (int round = 0; grew && round < kRoundsMax; ++round) {
    grew = false;
    for (std::size_t i = 0; i < tree.size() && tree.size() < kTreeMembersMax; ++i) {
      for (const pid_t child : children_of(tree[i])) {
        if (!known.insert(child).second) continue;
        ::kill(child, SIGSTOP);
        tree.push_back(child);
        grew = true;
      }
    }
  }
  for (const pid_t pid : tree) ::kill(pid, SIGKILL);
}

}  // namespace millrace::launcher
