// TracedChild: runs a function in a child process that stops after each of its system calls, so that a test can kill
// it, or do something else, at every point between two of them.
//
//   TracedChild child([&] { open(); }, [&] { place(); });
//   while (child.step()) ...          // one system call further; false when it has ended
//   child.kill();
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::test {

#define MILLRACE_NEEDS_TRACING(child) \
  if (!(child).is_traced()) GTEST_SKIP() << "this host forbids ptrace() of own children, by which they are stopped"

class TracedChild {
 public:
  // `prepare` runs at once, `function` step by step. Neither may use threads of the parent's; the process ends without
  // running the parent's destructors.
  template <class Prepare, class Function>
  TracedChild(Prepare prepare, Function function) : pid_(fork()) {
    if (pid_ != 0) {
      int status = 0;
      is_traced_ = waitpid(pid_, &status, 0) == pid_ && WIFSTOPPED(status) &&
                   ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_EXITKILL) == 0;
      running_ = is_traced_;
      return;
    }
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(1);
    prepare();
    raise(SIGSTOP);
    function();
    _exit(0);
  }
  TracedChild(const TracedChild&) = delete;
  TracedChild& operator=(const TracedChild&) = delete;
  ~TracedChild() { kill(); }

  // False where tracing is forbidden.
  [[nodiscard]] bool is_traced() const { return is_traced_; }

  bool step() { return run_to_stop() && run_to_stop(); }  // to the call, and out of it

  void kill() {
    if (!running_) return;
    running_ = false;
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (waitpid(pid_, &status, 0) == pid_ && !WIFSIGNALED(status) && !WIFEXITED(status)) {
    }
  }

  // How it ended by itself: its exit status, or -1.
  [[nodiscard]] int exit_status() const { return exit_status_; }

 private:
  bool run_to_stop() {
    if (!running_ || ptrace(PTRACE_SYSCALL, pid_, nullptr, nullptr) != 0) return false;
    int status = 0;
    if (waitpid(pid_, &status, 0) != pid_ || !WIFSTOPPED(status)) {
      running_ = false;
      if (WIFEXITED(status)) exit_status_ = WEXITSTATUS(status);
      return false;
    }
    return true;
  }

  pid_t pid_ = -1;
  bool is_traced_ = false;
  bool running_ = false;
  int exit_status_ = -1;
};

}  // namespace millrace::test
