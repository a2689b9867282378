// A real launcher of a test's own, started as the supervisor starts it. The test process may have become another user
// meanwhile, as long as its real user is still root.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/fd.h"

namespace millrace::test {

class LauncherProcess {
 public:
  // Runs functions of the kind `process` as this user and maps files to it. It is root, or this user itself where
  // MILLRACE_TEST_AS=user is in the environment.
  LauncherProcess(std::string prefix, std::uint32_t daemon_uid, const std::vector<std::string>& more = {});
  LauncherProcess(const LauncherProcess&) = delete;
  LauncherProcess& operator=(const LauncherProcess&) = delete;
  ~LauncherProcess();

  [[nodiscard]] static bool is_root();

  // The daemon's end of its socket; once.
  [[nodiscard]] Fd take_socket() { return std::move(socket_); }

  // What the supervisor does when the daemon needs another socket.
  [[nodiscard]] Fd renew_socket();

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::size_t open_descriptors() const;

  void kill();  // SIGKILL, and waits for it
  int stop();   // by the end of its life line: its exit status, or -signal

 private:
  int wait();

  pid_t pid_ = -1;
  Fd socket_;
  Fd life_line_;
};

// A process of the whole machine with this text in its command line, which only privileged eyes can see.
[[nodiscard]] bool process_exists(const std::string& argument);

}  // namespace millrace::test
