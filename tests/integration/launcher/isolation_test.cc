// What a function in a container can see and do. Each test is a way out that must stay closed.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <thread>

#include "tests/integration/launcher/launcher_rig.h"

namespace millrace::launcher {
namespace {

class Isolation : public ::testing::Test {
 protected:
  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    rig_.emplace();
    rig_->prepare(1, Kind::container);
    rig_->prepare(2, Kind::container, Network::host);
    probe_ = files_.file("probe", read_text(probe_path()), 0755);
  }

  RunResult probe(const std::vector<std::string>& arguments, std::uint32_t template_id = 1) {
    RunSpec spec{.template_id = template_id, .argv = {"/tmp/in/probe"}, .inputs = {{{.name = "probe"}, probe_.get()}}};
    spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
    return rig_->run(spec);
  }
  std::string shell(const std::string& script, std::uint32_t template_id = 1) {
    const auto result = rig_->run({.template_id = template_id, .argv = {"sh", "-c", script}});
    EXPECT_EQ(result.errors, "");
    return result.output;
  }

  TestDirectory files_;
  std::optional<LauncherRig> rig_;
  Fd probe_;
};

TEST_F(Isolation, HasNoCapabilitiesNoNewPrivilegesAndAFilter) {
  EXPECT_EQ(shell("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"),
            "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
            "CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n");
  EXPECT_EQ(shell("id -u; id -g; id -G"), "65533\n65533\n65533\n");
}

TEST_F(Isolation, RefusesEveryWayOut) {
  const bool no_sysrq = ::access("/proc/sysrq-trigger", F_OK) != 0;
  const std::map<std::string, std::string> expected{
      {"unshare_user", "EPERM"},
      {"unshare_mount", "EPERM"},
      {"clone_user", "EPERM"},
      {"clone3", "ENOSYS"},
      {"mount", "EPERM"},
      {"umount", "EPERM"},
      {"open_tree", "EPERM"},
      {"fsopen", "EPERM"},
      {"setns", "EPERM"},
      {"chroot", "EPERM"},
      {"pivot_root", "EPERM"},
      {"ptrace", "EPERM"},
      {"process_vm_readv", "EPERM"},
      {"bpf", "EPERM"},
      {"perf_event_open", "EPERM"},
      {"keyctl", "EPERM"},
      {"add_key", "EPERM"},
      {"userfaultfd", "EPERM"},
      {"io_uring_setup", "EPERM"},
      {"kexec_load", "EPERM"},
      {"init_module", "EPERM"},
      {"reboot", "EPERM"},
      {"swapon", "EPERM"},
      {"open_by_handle_at", "EPERM"},
      {"personality", "EPERM"},
      {"personality_ask", "ok"},
      {"socket_vsock", "EAFNOSUPPORT"},
      {"socket_packet", "EAFNOSUPPORT"},
      {"socket_netlink", "EAFNOSUPPORT"},
      {"socket_alg", "EAFNOSUPPORT"},
      {"socket_inet", "ok"},
      {"socket_raw", "EPERM"},
      {"socket_unix", "ok"},
      {"tiocsti", "EPERM"},
      {"setuid0", LauncherRig::usual() == LauncherRig::As::user ? "EINVAL" : "EPERM"},
      {"mknod", "EPERM"},
      {"write_usr", "EROFS"},
      {"write_root", "EROFS"},
      {"write_dev", "EROFS"},
      {"write_core_pattern", "EACCES"},
      // /dev/null lies over it.
      {"write_sysrq", no_sysrq ? "ENOENT" : "ok"},
      {"lower_oom_score", "EACCES"}};
  std::istringstream lines(probe({"refused"}).output);
  std::map<std::string, std::string> seen;
  for (std::string name, result; lines >> name >> result;) seen[name] = result;
  for (const auto& [name, result] : expected) EXPECT_EQ(seen[name], result) << name;
}

TEST_F(Isolation, SeesOnlyItsOwnProcesses) {
  const auto other = rig_->start({.argv = {"sleep", "1000"}});
  EXPECT_EQ(shell("for p in /proc/[0-9]*; do echo ${p#/proc/}; done; echo self $$"), "1\nself 1\n");
  rig_->send(Kill{.run = other});
  rig_->finish(other);
}

TEST_F(Isolation, CannotSignalAnybodyElse) {
  const auto other = rig_->start({.argv = {"sh", "-c", "echo ready; exec sleep 1000"}});
  rig_->await_output(other, "ready");
  EXPECT_EQ(
      shell("kill -9 -1 2>/dev/null; i=2; while [ $i -lt 400 ]; do kill -9 $i 2>/dev/null; i=$((i+1)); done; echo x"),
      "x\n");
  rig_->send(Sample{.run = other});
  EXPECT_TRUE(rig_->await<Sampled>().known);
  rig_->send(Kill{.run = other});
  rig_->finish(other);
}

TEST_F(Isolation, InheritsNoDescriptors) {
  EXPECT_EQ(probe({"descriptors"}).output, "0\n1\n2\n");
}

TEST_F(Isolation, ShowsOnlyAllowedDirectoriesOfTheHost) {
  std::string expected;
  for (const char* name : {"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "opt", "oscar", "proc",
                           "root", "run", "sbin", "sys", "tmp", "usr", "var"}) {
    const std::string path = std::string("/") + name;
    if (path == "/oscar" || ::access(path.c_str(), F_OK) == 0) expected += std::string(name) + " ";
  }
  EXPECT_EQ(shell("ls -A / | tr '\\n' ' '"), expected);
  EXPECT_EQ(shell("ls -A /home /root /run /sys /tmp /mnt 2>/dev/null | grep -v :"), "\n\n\n\nin\nout\n");
  EXPECT_EQ(shell("readlink /var/tmp"), "/tmp\n");
  EXPECT_EQ(shell("ls -A /dev | tr '\\n' ' '"), "fd full null random shm stderr stdin stdout tty urandom zero ");
}

TEST_F(Isolation, MountinfoShowsNoHostPathsAndNoPropagation) {
  const std::string mounts = shell("cat /proc/self/mountinfo");
  EXPECT_EQ(mounts.find("shared:"), std::string::npos) << mounts;
  EXPECT_EQ(mounts.find("master:"), std::string::npos) << mounts;
  EXPECT_EQ(mounts.find(files_.path()), std::string::npos) << mounts;
  EXPECT_EQ(mounts.find("/sys/fs/cgroup"), std::string::npos) << mounts;
  EXPECT_EQ(shell("cat /proc/self/cgroup | cut -d: -f3 | sort -u | grep -v '^/$' | wc -l"), "0\n")
      << shell("cat /proc/self/cgroup");
}

TEST_F(Isolation, MasksWhatTellsOfTheHost) {
  for (const char* path : {"config.gz", "kallsyms", "keys", "timer_list", "cmdline", "key-users"}) {
    EXPECT_EQ(shell(std::string("cat /proc/") + path + " 2>/dev/null | wc -c"), "0\n") << path;
  }
  EXPECT_EQ(shell("ls /proc/acpi 2>/dev/null | wc -l"), "0\n");
  EXPECT_EQ(shell("head -c 1 /proc/kcore 2>/dev/null | wc -c"), "0\n");
  // What programs need is there.
  EXPECT_NE(shell("grep -c processor /proc/cpuinfo"), "0\n");
  EXPECT_NE(shell("grep MemTotal /proc/meminfo"), "");
}

TEST_F(Isolation, SocketsAndFifosOfTheHostAreDead) {
  const std::string path = "/opt/millrace-test-" + std::to_string(::getpid());
  const std::string fifo = path + ".fifo";
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::ranges::copy(path, address.sun_path);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::chmod(path.c_str(), 0777), 0);
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0666), 0);
  ASSERT_EQ(::chmod(fifo.c_str(), 0666), 0);
  const Fd reader(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  EXPECT_EQ(shell("python3 -c \"\nimport socket, os\ns = socket.socket(socket.AF_UNIX)\ntry:\n  s.connect('" + path +
                  "'); print('connected')\nexcept ConnectionRefusedError: print('refused')\ntry:\n  os.open('" + fifo +
                  "', os.O_WRONLY | os.O_NONBLOCK); print('opened')\nexcept OSError as e: print(e.errno)\""),
            "refused\n6\n");
  ::unlink(path.c_str());
  ::unlink(fifo.c_str());
}

TEST_F(Isolation, NetworkNoneReachesNothingButItsOwnLoopback) {
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string port = std::to_string(ntohs(address.sin_port));
  const std::string script = "python3 -c \"\nimport socket\nfor a in (('127.0.0.1', " + port +
                             "), ('169.254.169.254', 80)):\n  try:\n    socket.create_connection(a, 1); print('yes')\n"
                             "  except OSError as e: print(e.errno)\nl = socket.create_server(('127.0.0.1', 8080))\n"
                             "c = socket.create_connection(('127.0.0.1', 8080)); print('own')\"";
  EXPECT_EQ(shell(script), "111\n101\nown\n");
  EXPECT_EQ(shell("cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '"), "lo\n");
  // The next run may be given the same namespace, but finds no socket in it.
  EXPECT_EQ(shell(script), "111\n101\nown\n");
  EXPECT_EQ(shell("wc -c < /etc/resolv.conf; cat /etc/hosts | head -1"), "0\n127.0.0.1 localhost\n");
}

TEST_F(Isolation, NetworkHostReachesTheHost) {
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  EXPECT_EQ(shell("python3 -c \"\nimport socket\nsocket.create_connection(('127.0.0.1', " +
                      std::to_string(ntohs(address.sin_port)) + "), 1); print('yes')\"",
                  2),
            "yes\n");
  EXPECT_EQ(shell("cmp /etc/hosts - <<X\n$(cat /etc/hosts)\nX\n[ -s /etc/passwd ] && echo x", 2), "x\n");
}

TEST_F(Isolation, SharesNoIpcHostnameOrTemporaryFilesBetweenRuns) {
  EXPECT_EQ(shell("echo secret > /tmp/left; echo secret > /dev/shm/left; ls /tmp /dev/shm | wc -l"), "7\n");
  EXPECT_EQ(shell("ls -A /tmp /dev/shm | tr '\\n' ' '"), "/dev/shm:  /tmp: in out ");
  const auto host = read_text("/proc/sys/kernel/hostname");
  EXPECT_EQ(shell("hostname"), "function\n");
  EXPECT_EQ(read_text("/proc/sys/kernel/hostname"), host);
}

TEST_F(Isolation, ReadsNothingThatOnlyRootMay) {
  const auto result = rig_->run({.argv = {"sh", "-c", "cat /etc/shadow /etc/gshadow 2>&1 | grep -c Permission"}});
  EXPECT_EQ(result.output, "2\n");
  EXPECT_EQ(rig_->run({.argv = {"sh", "-c", "su -c id 2>/dev/null </dev/null || echo refused"}}).output, "refused\n");
}

TEST_F(Isolation, RunsOfTwoTemplatesHaveDifferentHostUsers) {
  MILLRACE_NEEDS_ROOTS_LAUNCHER("all functions are one user");
  const auto user_of = [this](std::uint32_t template_id) {
    const auto run = rig_->start({.template_id = template_id, .argv = {"sh", "-c", "echo ready; sleep 1000; exit"}});
    rig_->await_output(run, "ready");
    std::string uid;
    for (const pid_t of_template : direct_children(rig_->pid())) {
      for (const pid_t pid : direct_children(of_template)) {
        const std::string folder = "/proc/" + std::to_string(pid);
        if (read_text(folder + "/cmdline").find("ready") == std::string::npos) continue;  // waits for a run
        std::istringstream status(read_text(folder + "/status"));
        for (std::string word; status >> word;) {
          if (word == "Uid:") status >> uid;
        }
      }
    }
    rig_->send(Kill{.run = run});
    rig_->finish(run);
    return uid;
  };
  const auto first = user_of(1);
  const auto second = user_of(2);
  EXPECT_NE(first, "");
  EXPECT_NE(first, second);
  EXPECT_GT(std::stoul(first), 0x7000'0000U);
}

class HostImageOptions : public ::testing::Test {
 protected:
  void SetUp() override { MILLRACE_NEEDS_ROOT(); }
};

TEST_F(HostImageOptions, ShowMoreOfTheHostAndHideParts) {
  const TestDirectory files("/srv");
  const Fd file = files.file("model.bin", "weights", 0644);
  LauncherRig rig(LauncherRig::usual(), {"--show=" + files.path(), "--hide=/etc/hostname", "--hide=/usr/share/doc"});
  rig.prepare(1, Kind::container);
  const std::string look =
      "cat \"$1\"/model.bin; for f in /etc/hostname /usr/share/doc /etc/passwd /usr/share; do "
      "[ -e $f ] && echo \" $f\"; done";
  const auto result = rig.run({.argv = {"sh", "-c", look, "sh", files.path()}});
  EXPECT_EQ(result.output, "weights /etc/passwd\n /usr/share\n") << result.errors;
}

// What lies beside a hidden file, or beside one of the function's own, is as closed as it is on the host.
TEST_F(HostImageOptions, DoNotOpenTheDirectoriesThatHoldWhatIsHiddenOrPlaced) {
  const TestDirectory files("/srv");
  std::vector<Fd> held;
  for (const std::string name : {"closed", "shut", "open"}) {
    held.push_back(files.directory(name, name == "open" ? 0755 : 0700));
    held.push_back(files.file(name + "/beside", name + "\n", 0644));
    held.push_back(files.file(name + "/hidden", "hidden", 0644));
    // Without root functions are the user whom these files belong to: it would be closed to nobody.
    if (name != "open") ASSERT_EQ(::chown((files.path() + "/" + name).c_str(), 0, 0), 0);
  }
  const std::string& place = files.path();
  LauncherRig rig(LauncherRig::usual(),
                  {"--show=" + place, "--hide=" + place + "/closed/hidden", "--hide=" + place + "/open/hidden"});
  rig.prepare(
      Prepare{.template_id = 1, .kind = Kind::container}, -1,
      {{.path = place + "/shut/placed", .content = "placed"}, {.path = place + "/open/placed", .content = "placed"}});
  const auto result = rig.run({.argv = {"sh", "-c", "cd \"$1\"; cat */beside; ls open", "sh", place}});
  EXPECT_EQ(result.output, "open\nbeside\nplaced\n") << result.errors;
}

TEST_F(HostImageOptions, FailLoudlyWhereADirectoryIsMissing) {
  LauncherRig rig(LauncherRig::usual(), {"--show=/does/not/exist"});
  rig.send(Prepare{.template_id = 1, .kind = Kind::container});
  const auto failed = rig.await<PrepareFailed>();
  EXPECT_EQ(failed.template_id, 1U);
  EXPECT_EQ(failed.step, Step::root_file_system);
  EXPECT_EQ(failed.error, ENOENT);
  EXPECT_NE(failed.text.find("/does/not/exist"), std::string::npos) << failed.text;
  // What could not be built is unknown, and the launcher as good as before.
  EXPECT_EQ(rig.run({.argv = {"true"}}).failed.error, ENOENT);
}

// ---- the launcher's other service

class CheckQuietRequest : public ::testing::Test {
 protected:
  void SetUp() override { MILLRACE_NEEDS_ROOT(); }
  static Quietness ask(LauncherRig& rig, int fd) {
    rig.send(CheckQuiet{.request = 99}, {fd});
    const auto answer = rig.await<Quiet>();
    EXPECT_EQ(answer.request, 99U);
    return answer.state;
  }
};

TEST_F(CheckQuietRequest, AnswersAllThreeWays) {
  LauncherRig rig;
  TestDirectory files;
  const Fd file = files.file("upload.bin", "half of it");
  EXPECT_EQ(ask(rig, file.get()), Quietness::quiet);
  {
    const Fd writer(::open((files.path() + "/upload.bin").c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(ask(rig, file.get()), Quietness::open_for_writing);
  }
  EXPECT_EQ(ask(rig, file.get()), Quietness::quiet);
  const Fd directory = files.directory("d");
  EXPECT_EQ(ask(rig, directory.get()), Quietness::unsupported);
}

TEST_F(CheckQuietRequest, WithoutRightsKnowsOnlyFilesOfItsUser) {
  LauncherRig rig(LauncherRig::As::user);
  TestDirectory files;
  const Fd own = files.file("own", "x");
  EXPECT_EQ(ask(rig, own.get()), Quietness::quiet);
  const Fd foreign(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(ask(rig, foreign.get()), Quietness::unsupported);
  EXPECT_EQ(rig.hello().of(Control::read_leases).support, Support::emulated);
}

TEST(LauncherHello, SaysWhatAnOrdinaryUserLacks) {
  MILLRACE_NEEDS_ROOT();
  LauncherRig rig(LauncherRig::As::user);
  EXPECT_FALSE(rig.hello().privileged);
  for (const Control control : {Control::memory, Control::pids, Control::user_ids}) {
    EXPECT_EQ(rig.hello().of(control).support, Support::missing);
    EXPECT_NE(rig.hello().of(control).reason, "");
  }
  EXPECT_TRUE(rig.hello().runtimes.empty());
  EXPECT_NE(rig.hello().no_runtimes, "");
  rig.send(Prepare{.template_id = 3, .kind = Kind::container, .profile = Profile::compat});
  const auto failed = rig.await<PrepareFailed>();
  EXPECT_EQ(failed.error, EPERM);
  EXPECT_NE(failed.text, "");
}

class BrokenDaemon : public ::testing::Test {
 protected:
  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    rig_.emplace();
    rig_->prepare(1, Kind::process);
  }
  // The launcher ends this daemon's conversation and serves the next.
  void expect_end() {
    rig_->expect_socket_end();
    rig_->hand_over_new_daemon();
    rig_->prepare(1, Kind::process);
    EXPECT_EQ(rig_->run({.argv = {"sh", "-c", "exit 8"}}).exited.value, 8U);
  }
  std::optional<LauncherRig> rig_;
};

TEST_F(BrokenDaemon, IsCutOffForGarbage) {
  ASSERT_EQ(send(rig_->daemon_socket(), "\xffgarbage"), Transfer::done);
  expect_end();
}

TEST_F(BrokenDaemon, IsCutOffForAWrongNumberOfDescriptors) {
  rig_->send(Kill{.run = 1}, {0});
  expect_end();
}

TEST_F(BrokenDaemon, IsCutOffForAnIdInUse) {
  rig_->send(Prepare{.template_id = 1, .kind = Kind::process});
  expect_end();
}

TEST_F(BrokenDaemon, IsCutOffForWhatOnlyTemplatesAreTold) {
  rig_->send(MakeSpare{.spare = 1});
  expect_end();
  rig_->send(EndSpare{.spare = 1});
  expect_end();
}

TEST_F(BrokenDaemon, IsCutOffForADatagramThatIsTooLong) {
  const std::string bytes(kDatagramBytesMax + 1, 'x');
  ASSERT_EQ(::send(rig_->daemon_socket(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  expect_end();
}

TEST_F(BrokenDaemon, ThatDoesNotReadIsHeldUpAndLosesNothing) {
  constexpr int kRequests = 3000;
  // Answers are read only after all requests are sent: the launcher must neither drop nor keep without bound.
  std::thread sender([this] {
    for (int i = 0; i < kRequests; ++i) rig_->send(Sample{.run = static_cast<std::uint64_t>(i) + 1000});
  });
  for (int i = 0; i < kRequests; ++i) EXPECT_EQ(rig_->await<Sampled>().run, static_cast<std::uint64_t>(i) + 1000);
  sender.join();
}

}  // namespace
}  // namespace millrace::launcher
