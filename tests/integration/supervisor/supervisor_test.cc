// The supervisor beside two tiny programs: whoever is killed, the others go on or end as they should.
#include "app/supervisor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>

#include "tests/support/temp_dir.h"

namespace millrace::test {
namespace {

constexpr int kSupervisorFailed = 99;
constexpr int kHangGuardMs = 20'000;
constexpr std::uint32_t kDaemonUid = 61501;

std::vector<std::byte> file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto* const begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::chmod(directory_.path().c_str(), 0711), 0);
    reports_ = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(reports_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(::chmod(path_.c_str(), 0777), 0);

    options_.launcher_image = image_;
    options_.launcher_arguments = {"--report=" + path_};
    options_.executable = Fd(::open(FAKE_DAEMON, O_RDONLY | O_CLOEXEC));
    options_.daemon_arguments = {"millrace", "--report=" + path_};
    options_.restart_delay = std::chrono::milliseconds(10);
  }

  void TearDown() override {
    if (supervisor_ > 0) {
      ::kill(supervisor_, SIGKILL);
      ::waitpid(supervisor_, nullptr, 0);
    }
  }

  void start() {
    supervisor_ = ::fork();
    if (supervisor_ != 0) return;
    Log log({.level = LogLevel::error});
    Supervisor supervisor(log, std::move(options_));
    const auto status = supervisor.run();
    // The supervisor promises to leave no child.
    const bool alone = ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD;
    if (!status) std::ofstream(directory_ / "error") << status.error().message;
    ::_exit(!alone ? 98 : status ? *status : kSupervisorFailed);
  }

  // Waits for the next report that starts with `text` after its pid; remembers the pid.
  std::string await(const std::string& text) {
    for (;;) {
      pollfd source{.fd = reports_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&source, 1, kHangGuardMs) != 1) {
        ADD_FAILURE() << "nothing more was reported while waiting for: " << text;
        return {};
      }
      std::array<char, 512> buffer{};
      const ssize_t got = ::recv(reports_.get(), buffer.data(), buffer.size(), 0);
      const std::string line(buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
      const auto space = line.find(' ');
      const std::string what = line.substr(space + 1);
      if (what.starts_with("daemon start")) daemon_ = std::stoi(line);
      if (what.starts_with("launcher start")) launcher_ = std::stoi(line);
      if (what.starts_with("hidden")) hidden_.insert(std::stoi(line));
      if (what.starts_with(text)) return what;
    }
  }

  // Both are there and know each other.
  void await_connected() { await("daemon connected"); }

  int await_exit() {
    int status = 0;
    ::waitpid(std::exchange(supervisor_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  static bool alive(pid_t pid) { return ::kill(pid, 0) == 0; }

  TempDir directory_;
  std::string path_ = directory_ / "reports";
  std::vector<std::byte> image_ = file_bytes(FAKE_LAUNCHER);
  SupervisorOptions options_;
  Fd reports_;
  pid_t supervisor_ = -1;
  pid_t daemon_ = -1;
  pid_t launcher_ = -1;
  std::set<pid_t> hidden_;  // processes that a launcher left in the dark
};

TEST_F(SupervisorTest, ConnectsBothAndStopsThemInOrder) {
  start();
  await_connected();
  ::kill(supervisor_, SIGTERM);
  await("daemon drained");
  await("launcher end");
  EXPECT_EQ(await_exit(), 0);
  EXPECT_FALSE(alive(daemon_));
  EXPECT_FALSE(alive(launcher_));
}

TEST_F(SupervisorTest, ReturnsTheStatusOfADaemonThatWasAskedToStop) {
  options_.daemon_arguments.emplace_back("--status=5");
  start();
  await_connected();
  ::kill(supervisor_, SIGINT);
  EXPECT_EQ(await_exit(), 5);
}

TEST_F(SupervisorTest, StartsAKilledDaemonAgainBesideTheSameLauncher) {
  start();
  await_connected();
  const pid_t launcher = launcher_;
  const pid_t daemon = daemon_;
  ::kill(daemon, SIGKILL);
  await("launcher new daemon");
  await_connected();
  EXPECT_NE(daemon_, daemon);
  EXPECT_EQ(launcher_, launcher);
  EXPECT_TRUE(alive(launcher));
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(await_exit(), 0);
}

TEST_F(SupervisorTest, StartsAKilledLauncherAgainBesideTheSameDaemon) {
  start();
  await_connected();
  const pid_t launcher = launcher_;
  const pid_t daemon = daemon_;
  ::kill(launcher, SIGKILL);
  await_connected();
  EXPECT_NE(launcher_, launcher);
  EXPECT_EQ(daemon_, daemon);
  EXPECT_TRUE(alive(daemon));
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(await_exit(), 0);
}

TEST_F(SupervisorTest, EndsWhatAKilledLauncherLeftBehindBeforeTheNextOneStarts) {
  options_.launcher_arguments.emplace_back("--tree=yes");
  start();
  while (!HasFailure() && hidden_.size() < 2) await("");
  const auto left = std::exchange(hidden_, {});
  ::kill(launcher_, SIGKILL);
  await("launcher start");
  EXPECT_TRUE(std::ranges::none_of(left, alive));
  // What the next one leaves behind goes when everything ends.
  while (!HasFailure() && hidden_.size() < 2) await("");
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(await_exit(), 0);
  EXPECT_TRUE(std::ranges::none_of(hidden_, alive));
}

TEST_F(SupervisorTest, LeavesAChildAloneThatWasThereBefore) {
  supervisor_ = ::fork();
  if (supervisor_ == 0) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    Log log({.level = LogLevel::error});
    Supervisor supervisor(log, std::move(options_));
    static_cast<void>(supervisor.run());
    const bool left_alone = ::waitpid(child, nullptr, WNOHANG) == 0;
    ::kill(child, SIGKILL);
    ::_exit(left_alone ? 0 : 97);
  }
  await_connected();
  ::kill(launcher_, SIGKILL);
  await_connected();
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(await_exit(), 0);
}

TEST_F(SupervisorTest, StartsBothAgainWhenBothAreKilled) {
  start();
  await_connected();
  ::kill(launcher_, SIGKILL);
  ::kill(daemon_, SIGKILL);
  await_connected();
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(await_exit(), 0);
}

TEST_F(SupervisorTest, LeavesNothingWhenItIsKilledItself) {
  start();
  await_connected();
  ::kill(supervisor_, SIGKILL);
  EXPECT_EQ(await_exit(), -SIGKILL);
  // Either may be the first to tell.
  std::set<std::string> told;
  while (!HasFailure() && !(told.contains("daemon alone") && told.contains("launcher end"))) told.insert(await(""));
}

TEST_F(SupervisorTest, ConnectsAgainADaemonThatItsLauncherDropped) {
  start();
  await_connected();
  const pid_t launcher = launcher_;
  ::kill(daemon_, SIGUSR1);
  await("launcher new daemon");
  await_connected();
  EXPECT_EQ(launcher_, launcher);
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(await_exit(), 0);
}

TEST_F(SupervisorTest, ReplacesALauncherThatItsDaemonCallsStuck) {
  start();
  await_connected();
  const pid_t launcher = launcher_;
  ::kill(daemon_, SIGUSR2);
  await_connected();
  EXPECT_NE(launcher_, launcher);
  EXPECT_FALSE(alive(launcher));
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(await_exit(), 0);
}

TEST_F(SupervisorTest, EndsWithADaemonThatLeavesByItself) {
  options_.daemon_arguments.emplace_back("--exit=0");
  start();
  EXPECT_EQ(await_exit(), 0);
}

TEST_F(SupervisorTest, DoesNotRepeatADaemonWithAWrongConfiguration) {
  options_.daemon_arguments.emplace_back("--exit=78");
  start();
  EXPECT_EQ(await_exit(), kExitConfiguration);
  await("daemon start");
}

TEST_F(SupervisorTest, GivesUpOnADaemonThatKeepsDying) {
  options_.daemon_arguments.emplace_back("--exit=1");
  start();
  for (int i = 0; i < 5; ++i) await("daemon start");
  EXPECT_EQ(await_exit(), kSupervisorFailed);
  const auto error = file_bytes(directory_ / "error");
  const std::string text(reinterpret_cast<const char*>(error.data()), error.size());
  EXPECT_TRUE(text.starts_with("the daemon ended 5 times within 60 s, the last time by exit status 1")) << text;
}

TEST_F(SupervisorTest, GivesUpOnALauncherThatKeepsDyingAndStopsTheDaemonInOrder) {
  options_.launcher_arguments.emplace_back("--exit=3");
  start();
  EXPECT_EQ(await_exit(), kSupervisorFailed);
}

TEST_F(SupervisorTest, KillsADaemonThatDoesNotDrainInTime) {
  options_.daemon_arguments.emplace_back("--deaf=yes");
  options_.daemon_stop_wait = std::chrono::milliseconds(50);
  start();
  await_connected();
  ::kill(supervisor_, SIGTERM);
  await("launcher end");
  EXPECT_EQ(await_exit(), 128 + SIGKILL);
}

TEST_F(SupervisorTest, TakesASignalThatComesTwiceAtOnceForOne) {
  options_.second_signal_after = std::chrono::hours(1);
  start();
  await_connected();
  ::kill(supervisor_, SIGTERM);
  ::kill(supervisor_, SIGINT);
  EXPECT_EQ(await_exit(), 0);
}

TEST_F(SupervisorTest, KillsTheDaemonAtTheSecondSignal) {
  options_.second_signal_after = {};
  options_.daemon_arguments.emplace_back("--deaf=yes");
  start();
  await_connected();
  ::kill(supervisor_, SIGTERM);
  await("daemon deaf");
  ::kill(supervisor_, SIGINT);
  EXPECT_EQ(await_exit(), 128 + SIGKILL);
}

TEST_F(SupervisorTest, TellsWhatCannotBeExecuted) {
  options_.executable = Fd(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  start();
  EXPECT_EQ(await_exit(), kSupervisorFailed);
}

TEST_F(SupervisorTest, RunsTheLauncherFromMemoryAndPassesDescriptorsToTheDaemon) {
  std::ofstream(directory_ / "config") << "words";
  options_.daemon_descriptors.emplace_back(::open((directory_ / "config").c_str(), O_RDONLY | O_CLOEXEC));
  start();
  const auto launcher = await("launcher start");
  EXPECT_NE(launcher.find("exe=/memfd:millrace-launcher"), std::string::npos) << launcher;
  ::kill(supervisor_, SIGTERM);
  await_exit();
}

TEST_F(SupervisorTest, GivesTheDaemonAnOrdinaryUserAndOnlyTheDescriptorsNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: the daemon becomes another user";
  const std::string config = directory_ / "config";
  std::ofstream(config) << "words";
  ASSERT_EQ(::chmod(config.c_str(), 0600), 0);
  options_.user = UserIds{.uid = kDaemonUid, .gid = kDaemonUid};
  options_.daemon_descriptors.emplace_back(::open(config.c_str(), O_RDONLY | O_CLOEXEC));
  const Fd stray(::open("/dev/null", O_RDONLY));  // inheritable
  start();
  EXPECT_EQ(await("daemon start"),
            "daemon start uid=" + std::to_string(kDaemonUid) + " groups=0 no_new_privs=1 config=words more=no");
  await_connected();
  const pid_t launcher = launcher_;
  ::kill(daemon_, SIGKILL);
  await_connected();
  EXPECT_EQ(launcher_, launcher);
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(await_exit(), 0);
}

TEST(FindUser, TakesNamesAndNumbers) {
  EXPECT_EQ(find_user("root")->uid, 0U);
  EXPECT_EQ(find_user("12:34")->uid, 12U);
  EXPECT_EQ(find_user("12:34")->gid, 34U);
  EXPECT_EQ(find_user("56")->gid, 56U);
  const auto unknown = find_user("no-such-user");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::not_found);
  EXPECT_NE(unknown.error().message.find("--stay-root"), std::string::npos);
}

}  // namespace
}  // namespace millrace::test
