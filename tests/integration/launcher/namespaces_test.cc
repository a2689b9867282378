// Namespaces outlive their makers only by descriptor: whoever dies over the making leaves no process.
#include "runtime/launcher/namespaces.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <random>

#include "core/fd.h"

namespace millrace::launcher {
namespace {

constexpr int kHangGuardMs = 30'000;

// True when every child has ended, those that were left to us included.
bool all_children_end() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kHangGuardMs);
  for (;;) {
    siginfo_t next{};
    if (::waitid(P_ALL, 0, &next, WEXITED | WNOHANG) < 0) return errno == ECHILD;
    if (next.si_pid == 0) ::poll(nullptr, 0, 1);
    if (std::chrono::steady_clock::now() > deadline) return false;
  }
}

TEST(UserNamespace, LeavesNoProcessWhenItsMakerIsKilled) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to write id maps";
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand random(seed);
  for (int i = 0; i < 100; ++i) {
    std::array<int, 2> made{};  // a byte per namespace
    ASSERT_EQ(::pipe2(made.data(), O_CLOEXEC), 0);
    const Fd reader(made[0]);
    Fd writer(made[1]);
    const pid_t maker = ::fork();
    ASSERT_GE(maker, 0);
    if (maker == 0) {
      while (make_user_namespace("0 70000 1", "0 70000 1") && ::write(writer.get(), "", 1) == 1) {
      }
      ::_exit(1);
    }
    writer.reset();
    // Then the maker is somewhere in the making of the next one.
    for (auto left = random() % 4; left > 0; --left) {
      char byte = 0;
      ASSERT_EQ(::read(reader.get(), &byte, 1), 1) << "the maker made none";
    }
    ASSERT_EQ(::kill(maker, SIGKILL), 0);
    ASSERT_TRUE(all_children_end()) << "kill number " << i;
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

}  // namespace
}  // namespace millrace::launcher
