// What a launcher has on this host, for counting before and after; and directories of the daemon's user.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "core/fd.h"

namespace millrace::launcher {

inline constexpr std::uint32_t kDaemonUid = 1500;

// Files of this host, for counting before and after.
std::size_t count_cgroups(const std::string& prefix);
// What a control file says of the group of the only run that there is; empty if no such group has this file.
std::string read_group_file(const std::string& prefix, const std::string& name);
std::size_t count_descriptors(pid_t pid);
std::set<pid_t> direct_children(pid_t pid);
// Of this program's mount namespace, which others do not change. None without root: nothing can be mounted then.
std::size_t count_mounts();
std::string read_text(const std::string& path);
// The launcher may be in the middle of something: awaits that a condition is true, and that a count is at most this.
bool comes_true(const std::function<bool()>& condition);
bool falls_to(std::size_t most, const std::function<std::size_t()>& count);

// A new directory, owned by the daemon's user, removed at the end.
class TestDirectory {
 public:
  explicit TestDirectory(const std::string& below = "/tmp");
  ~TestDirectory();
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  // Makes a file of the daemon's user and opens it for reading.
  [[nodiscard]] Fd file(const std::string& name, const std::string& content, mode_t mode = 0600) const;
  [[nodiscard]] Fd directory(const std::string& name, mode_t mode = 0700) const;

 private:
  std::string path_;
};

}  // namespace millrace::launcher
