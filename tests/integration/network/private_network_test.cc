// Private networks, from inside real sandboxes: what they reach, what they must not, and that nothing of them stays.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "runtime/launcher/network_helper.h"
#include "runtime/launcher/private_network.h"
#include "tests/integration/launcher/launcher_rig.h"
#include "tests/integration/network/outside.h"

namespace millrace::launcher {
namespace {

// Asks each "address:port" and prints what it says, or the number of the error.
constexpr const char* kAsk = R"(
import socket, sys
for place in sys.argv[1:]:
  address, port = place.rsplit(':', 1)
  try:
    with socket.create_connection((address, int(port)), 10) as s: print(place, s.recv(100).decode())
  except OSError as e: print(place, e.errno)
)";

std::vector<std::string> names_of_interfaces() {
  std::vector<std::string> names;
  if (struct if_nameindex* all = ::if_nameindex()) {
    for (const struct if_nameindex* one = all; one->if_index != 0; ++one) names.emplace_back(one->if_name);
    ::if_freenameindex(all);
  }
  return names;
}

// Processes of that name whose parent is this one; 0: whose parent is anybody.
std::vector<pid_t> processes(const std::string& name, pid_t parent) {
  std::vector<pid_t> found;
  DIR* const directory = ::opendir("/proc");
  while (const dirent* entry = ::readdir(directory)) {
    const auto pid = static_cast<pid_t>(std::atoi(entry->d_name));
    if (pid <= 0) continue;
    std::ifstream stat("/proc/" + std::string(entry->d_name) + "/stat");
    std::string ignored;
    std::string command;
    pid_t its_parent = 0;
    if (stat >> ignored >> command >> ignored >> its_parent && command == "(" + name + ")" &&
        (parent == 0 || parent == its_parent)) {
      found.push_back(pid);
    }
  }
  ::closedir(directory);
  return found;
}

class PrivateNetwork : public testing::Test {
 protected:
  // Distributions differ in the mode of this device. Only the mounts of this test see ours.
  static void replace_tun(mode_t mode) {
    static mode_t replaced = 0;
    if (std::exchange(replaced, mode) == mode) return;
    const TestDirectory place;
    const std::string device = place.path() + "/tun";
    // /tmp may be mounted so that devices do not work.
    ASSERT_EQ(::mount("tmpfs", place.path().c_str(), "tmpfs", 0, nullptr), 0);
    ASSERT_EQ(::mknod(device.c_str(), S_IFCHR | 0600, makedev(10, 200)), 0);
    ASSERT_EQ(::chmod(device.c_str(), mode), 0);
    ASSERT_EQ(::mount(device.c_str(), "/dev/net/tun", nullptr, MS_BIND, nullptr), 0);
    ASSERT_EQ(::umount2(place.path().c_str(), MNT_DETACH), 0);
  }

  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    if (::access(kNetworkHelper, X_OK) != 0)
      GTEST_SKIP() << "slirp4netns is not installed: scripts/install_packages test";
    if (::access("/dev/net/tun", R_OK | W_OK) != 0)
      GTEST_SKIP() << "this host gives us no /dev/net/tun, of which slirp4netns makes a network";
    static const std::string kTrouble = leave_the_host();
    ASSERT_EQ(kTrouble, "");
    if (LauncherRig::usual() == LauncherRig::As::user) replace_tun(0666);
    outside_ = std::make_unique<Outside>();
    ASSERT_EQ(outside_->trouble(), "");
    ASSERT_EQ(launcher::ask(kOutsideAddress, kOutsidePort), "outside");
    ASSERT_EQ(launcher::ask(kMetadataAddress, kOutsidePort), "outside");
  }

  void launch(std::vector<std::string> arguments = {}) {
    rig_ = std::make_unique<LauncherRig>(LauncherRig::usual(), std::move(arguments));
    ASSERT_EQ(rig_->hello().of(Control::private_network).reason, "");
    ASSERT_EQ(rig_->hello().of(Control::private_network).support, Support::real);
    rig_->prepare(1, Kind::container, Network::outbound);
  }

  static RunSpec python(const std::string& program, const std::vector<std::string>& arguments = {}) {
    RunSpec spec;
    spec.argv = {"python3", "-I", "-S", "-c", program};
    spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
    return spec;
  }

  std::string run(const RunSpec& spec) {
    const RunResult result = rig_->run(spec);
    EXPECT_TRUE(result.started) << name_of(result.failed.step) << " " << result.failed.error;
    return result.output + result.errors;
  }

  std::string ask(const std::vector<std::string>& places) { return run(python(kAsk, places)); }

  std::unique_ptr<Outside> outside_;
  std::unique_ptr<LauncherRig> rig_;
};

TEST_F(PrivateNetwork, ReachesTheOutsideAndItsNames) {
  launch();
  EXPECT_EQ(ask({"203.0.113.2:8000", "outside.example.test:8000", "outside:8000"}),
            "203.0.113.2:8000 outside\noutside.example.test:8000 outside\noutside:8000 outside\n");
  EXPECT_EQ(run(python(kAsk, {"nobody.example.test:8000"})), "nobody.example.test:8000 -2\n");
  EXPECT_EQ(run(python("print(open('/etc/resolv.conf').read())")),
            "nameserver 198.18.0.3\nsearch example.test\noptions timeout:5\n\n");
}

TEST_F(PrivateNetwork, ReachesNothingOfThisMachineNorLinkLocalAddresses) {
  const MachineServer open(kMachineAddress);
  const MachineServer loopback("127.0.0.1");
  ASSERT_EQ(launcher::ask(kMachineAddress, open.port()), "machine");
  ASSERT_EQ(launcher::ask("127.0.0.1", loopback.port()), "machine");
  launch();
  const std::string port = std::to_string(loopback.port());
  const std::string at_machine = kMachineAddress + (":" + std::to_string(open.port()));
  // The machine by its address; its loopback by our own, by the helper's and by the router's addresses; metadata.
  const std::vector<std::string> refused{at_machine, "198.18.0.2:" + port, "169.254.169.254:8000", "169.254.1.1:80",
                                         "240.0.0.1:80"};
  std::string expected;
  for (const auto& place : refused) expected += place + " 113\n";
  EXPECT_EQ(ask(refused), expected);
  EXPECT_EQ(ask({"127.0.0.1:" + port, "198.18.0.100:" + port, "198.18.128.0:" + port}),
            "127.0.0.1:" + port + " 111\n198.18.0.100:" + port + " 111\n198.18.128.0:" + port + " 111\n");
  // No address of IPv6 but loopback, and no way anywhere by it.
  EXPECT_EQ(run(python("print(open('/proc/net/if_inet6').read().split()[-1])")), "lo\n");
  EXPECT_EQ(ask({"fd00:ec2::254:80", "fd00::1:80"}), "fd00:ec2::254:80 101\nfd00::1:80 101\n");
}

TEST_F(PrivateNetwork, RefusesAnAddressThatTheMachineGetsLater) {
  launch();
  ASSERT_TRUE(outside_->add_machine_address("203.0.113.77"));
  const MachineServer server("203.0.113.77");
  const std::string at = "203.0.113.77:" + std::to_string(server.port());
  ASSERT_EQ(launcher::ask("203.0.113.77", server.port()), "machine");
  EXPECT_EQ(ask({at}), at + " 113\n");
}

TEST_F(PrivateNetwork, OptionsOpenAndCloseMore) {
  const MachineServer server(kMachineAddress);
  launch({std::string("--network-allow=") + kMachineAddress, std::string("--network-allow=") + kMetadataAddress,
          std::string("--network-deny=") + kOtherOutsideAddress});
  const std::string at_machine = kMachineAddress + (":" + std::to_string(server.port()));
  EXPECT_EQ(ask({at_machine, "169.254.169.254:8000", "203.0.113.9:8000", "203.0.113.2:8000", "169.254.1.1:80"}),
            at_machine +
                " machine\n169.254.169.254:8000 outside\n203.0.113.9:8000 113\n203.0.113.2:8000 outside\n"
                "169.254.1.1:80 113\n");
}

TEST_F(PrivateNetwork, SandboxesDoNotReachOneAnother) {
  launch();
  rig_->prepare(2, Kind::container, Network::outbound);
  const std::string serve = R"(
import socket, sys
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); probe.connect(('203.0.113.2', 9))
server = socket.create_server(('0.0.0.0', 7000))
print(probe.getsockname()[0], flush=True)
sys.stdin.read()
)";
  // It reads its standard input, which ends at once; a loop keeps it.
  const auto waiting = rig_->start(python(serve + "import time\nwhile True: time.sleep(1)\n"));
  rig_->await_output(waiting, "198.18.128.");
  std::vector<std::string> places;
  for (int last = 0; last < 8; ++last) places.push_back("198.18.128." + std::to_string(last) + ":7000");
  for (const std::uint32_t id : {1U, 2U}) {
    RunSpec spec = python(kAsk, places);
    spec.template_id = id;
    const std::string said = run(spec);
    // The router's own ends and one's own refuse; others are prohibited. Nobody is connected.
    EXPECT_EQ(said.find(":7000 \n"), std::string::npos) << said;
    EXPECT_NE(said.find(":7000 113\n"), std::string::npos) << said;
    for (const auto& place : places) EXPECT_NE(said.find(place + " 11"), std::string::npos) << said;
  }
  rig_->send(Kill{.run = waiting, .signal = KillSignal::kill});
  rig_->finish(waiting);
}

TEST_F(PrivateNetwork, CannotChangeItsNetworkNorLeaveIt) {
  launch();
  // A packet with somebody else's address needs a raw socket; the address of eth0 needs a right that nobody has.
  const std::string change = R"(
import socket, fcntl, struct
def attempt(name, f):
  try: f(); print(name, 'done')
  except OSError as e: print(name, e.errno)
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt('packet', lambda: socket.socket(17, socket.SOCK_RAW, 0))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
address = struct.pack('16sH2s4s8x', b'eth0', 2, b'', bytes([203, 0, 113, 1]))
attempt('address', lambda: fcntl.ioctl(s, 0x8916, address))
attempt('down', lambda: fcntl.ioctl(s, 0x8914, struct.pack('16sh22x', b'eth0', 0)))
n = socket.socket(16, socket.SOCK_RAW, 0)
n.bind((0, 0))
route = struct.pack('=IHHII', 28, 24, 0x605, 1, 0) + struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 254, 4, 0, 1, 0)
n.send(route)
print('route', -struct.unpack('=i', n.recv(4096)[16:20])[0])
)";
  EXPECT_EQ(run(python(change)), "raw 1\npacket 97\naddress 1\ndown 1\nroute 1\n");
}

TEST_F(PrivateNetwork, IsUsedAgainAndLeavesNothing) {
  const auto interfaces = names_of_interfaces();
  launch();
  EXPECT_EQ(ask({"203.0.113.2:8000"}), "203.0.113.2:8000 outside\n");
  std::set<std::string> addresses;
  const std::string own = R"(
import socket
s = socket.create_connection(('203.0.113.2', 8000))
while s.recv(100): pass
print(s.getsockname()[0], flush=True)
s.close()
)";
  // First as many side by side as the pools will ever need here.
  std::vector<std::uint64_t> runs;
  for (int i = 0; i < 4; ++i) runs.push_back(rig_->start(python(own + "import time\ntime.sleep(30)\n")));
  for (const auto one : runs) rig_->await_output(one, "198.18.128.");
  for (const auto one : runs) rig_->send(Kill{.run = one, .signal = KillSignal::kill});
  for (const auto one : runs) rig_->finish(one);
  const std::size_t descriptors = count_descriptors(rig_->pid());
  for (int i = 0; i < 40; ++i) addresses.insert(run(python(own)));
  // Its side closes second, so that hardly ever a socket lingers, and the next run is given the same one: of those
  // four, one that was ready then, and one of the sandbox that waits for its run.
  EXPECT_LT(addresses.size(), 20U);
  EXPECT_TRUE(falls_to(descriptors, [this] { return count_descriptors(rig_->pid()); }));
  // Nothing of it is in the machine's own network.
  EXPECT_EQ(names_of_interfaces(), interfaces);
  EXPECT_EQ(processes("slirp4netns", rig_->pid()).size(), 1U);
  const auto helper = processes("slirp4netns", rig_->pid()).front();
  rig_.reset();
  EXPECT_TRUE(falls_to(0, [helper] { return ::kill(helper, 0) == 0 ? 1U : 0U; }));
  EXPECT_EQ(names_of_interfaces(), interfaces);
}

TEST_F(PrivateNetwork, ManyAtATimeAllReachTheOutside) {
  launch();
  std::vector<std::uint64_t> runs;
  for (int i = 0; i < 40; ++i) runs.push_back(rig_->start(python(kAsk, {"203.0.113.2:8000", "outside:8000"})));
  for (const auto run : runs) {
    const auto result = rig_->finish(run);
    EXPECT_EQ(result.output + result.errors, "203.0.113.2:8000 outside\noutside:8000 outside\n");
  }
}

TEST_F(PrivateNetwork, KilledLauncherLeavesNoHelper) {
  const auto interfaces = names_of_interfaces();
  launch();
  EXPECT_EQ(ask({"203.0.113.2:8000"}), "203.0.113.2:8000 outside\n");
  const auto helpers = processes("slirp4netns", rig_->pid());
  ASSERT_EQ(helpers.size(), 1U);
  rig_->kill_launcher();
  EXPECT_TRUE(falls_to(0, [&helpers] { return ::kill(helpers.front(), 0) == 0 ? 1U : 0U; }));
  EXPECT_EQ(names_of_interfaces(), interfaces);
  rig_->restart();
  rig_->prepare(1, Kind::container, Network::outbound);
  EXPECT_EQ(ask({"203.0.113.2:8000"}), "203.0.113.2:8000 outside\n");
}

TEST_F(PrivateNetwork, KilledHelperIsReplaced) {
  launch();
  EXPECT_EQ(ask({"203.0.113.2:8000"}), "203.0.113.2:8000 outside\n");
  const auto helpers = processes("slirp4netns", rig_->pid());
  ASSERT_EQ(helpers.size(), 1U);
  ::kill(helpers.front(), SIGKILL);
  EXPECT_TRUE(falls_to(0, [&helpers] { return ::kill(helpers.front(), 0) == 0 ? 1U : 0U; }));
  rig_->prepare(2, Kind::container, Network::outbound);
  EXPECT_EQ(ask({"203.0.113.2:8000"}), "203.0.113.2:8000 outside\n");
}

TEST_F(PrivateNetwork, HelperRunsAsTheDaemonsUserWithoutRights) {
  launch();
  const auto helpers = processes("slirp4netns", rig_->pid());
  ASSERT_EQ(helpers.size(), 1U);
  const std::string proc = "/proc/" + std::to_string(helpers.front());
  const std::string status = read_text(proc + "/status");
  const std::string id = std::to_string(kDaemonUid);
  for (const std::string& line :
       {"Uid:\t" + id + "\t" + id + "\t" + id + "\t" + id + "\n", std::string("CapEff:\t0000000000000000\n"),
        std::string("CapPrm:\t0000000000000000\n"), std::string("NoNewPrivs:\t1\n"), std::string("Seccomp:\t2\n")}) {
    EXPECT_NE(status.find(line), std::string::npos) << line << status;
  }
  for (const char* path : {"/root/home", "/root/root", "/root/tmp", "/root/var", "/root/proc"}) {
    EXPECT_NE(::access((proc + path).c_str(), F_OK), 0) << path;
  }
  EXPECT_EQ(::access((proc + "/root/usr").c_str(), F_OK), 0);
}

TEST_F(PrivateNetwork, TheBreakOutProbeFindsNothing) {
  launch();
  const char* const path = std::getenv("MILLRACE_PROBE_ATTEMPTS");
  ASSERT_NE(path, nullptr);
  const Fd program(::open(path, O_RDONLY | O_CLOEXEC));
  RunSpec spec;
  spec.argv = {"/tmp/in/probe", "--private"};
  spec.inputs = {{Input{.name = "probe", .mode = InputMode::mount}, program.get()}};
  spec.limits = {.memory_bytes = 64 << 20, .pids = 64, .scratch_bytes = 16 << 20};
  const std::string said = run(spec);
  EXPECT_NE(said.find("leaks 0\n"), std::string::npos) << said;
  for (const char* row : {"F17 allowed", "F27 allowed", "F29 allowed", "F25 held", "F26 held", "F32 held", "F33 held",
                          "F34 held", "F35 held", "F36 held", "F37 held", "F38 held"}) {
    EXPECT_NE(said.find(row), std::string::npos) << row << "\n" << said;
  }
}

TEST_F(PrivateNetwork, NeedsADeviceThatTheUserMayOpen) {
  replace_tun(0600);
  const LauncherRig rig(LauncherRig::As::user);
  if (rig.hello().of(Control::namespaces).support != Support::real) {
    GTEST_SKIP() << "this host lets no ordinary user make namespaces";
  }
  const ControlState& state = rig.hello().of(Control::private_network);
  EXPECT_EQ(state.support, Support::missing);
  EXPECT_TRUE(state.reason.starts_with("open /dev/net/tun")) << state.reason;
}

}  // namespace
}  // namespace millrace::launcher
