// What is written for OCI runtimes, and what is found out before they are asked.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "core/fd.h"
#include "runtime/launcher/call_names.h"
#include "runtime/launcher/json_text.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/oci_config.h"
#include "runtime/launcher/oci_seccomp.h"
#include "runtime/launcher/program_check.h"
#include "runtime/launcher/seccomp.h"
#include "tests/support/temp_dir.h"

namespace millrace::launcher {
namespace {

// ---- JSON

TEST(JsonText, TellsUtf8FromWhatIsNone) {
  for (const std::string_view text : {"", "plain", "gr\xc3\xb6\xc3\x9f", "\xe6\x96\x87", "\xf0\x9f\x98\x80", "\x7f"}) {
    EXPECT_TRUE(is_utf8(text)) << text;
  }
  // A lone continuation, a cut character, an overlong form, half of a surrogate pair, above the last character.
  for (const std::string_view text :
       {"\x80", "a\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
        "\xe6\x96"
        "x"}) {
    EXPECT_FALSE(is_utf8(text)) << text;
  }
}

TEST(JsonText, QuotesWhatWouldEndAString) {
  std::string json;
  append_quoted(json, std::string_view("a\"b\\c\nd\x01\x7f"
                                       "\xc3\xb6",
                                       11));
  EXPECT_EQ(json, "\"a\\\"b\\\\c\\u000ad\\u0001\\u007f\xc3\xb6\"");
  json.clear();
  append_list(json, std::array<std::string_view, 2>{"one", "two"});
  EXPECT_EQ(json, "[\"one\",\"two\"]");
}

// ---- system calls

// What a runtime's filter would answer: the first rule that fits.
int answer_of(const std::vector<OciCallRule>& rules, std::uint32_t number,
              const std::array<std::uint64_t, 3>& arguments) {
  for (const OciCallRule& rule : rules) {
    if (rule.number != number) continue;
    const auto argument = static_cast<std::uint32_t>(arguments.at(rule.test.index));
    if (!rule.tested || (argument & rule.test.mask) == rule.test.value) return rule.error;
  }
  return ENOSYS;
}

TEST(OciSeccomp, SaysOfEveryCallWhatTheTableSays) {
  const auto rules = oci_call_rules(Network::none);
  for (std::uint32_t number = 0; number < kSharedCallsEnd; ++number) {
    if (call_name(number).empty()) continue;
    const int answer = answer_of(rules, number, {0, 0, 0});
    switch (action_of(number)) {
      case CallAction::deny: EXPECT_EQ(answer, EPERM) << call_name(number); break;
      case CallAction::absent: EXPECT_EQ(answer, ENOSYS) << call_name(number); break;
      case CallAction::socket_domain: EXPECT_EQ(answer, ENOSYS); break;  // domain 0
      default: EXPECT_EQ(answer, 0) << call_name(number);
    }
  }
}

TEST(OciSeccomp, TestsArgumentsAsTheFilterDoes) {
  const auto rules = oci_call_rules(Network::none);
  for (const std::uint64_t flag :
       std::array<std::uint64_t, 5>{CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP}) {
    EXPECT_NE(answer_of(rules, SYS_clone, {flag | SIGCHLD, 0, 0}), 0) << flag;
  }
  EXPECT_EQ(answer_of(rules, SYS_clone, {CLONE_VM | CLONE_THREAD | SIGCHLD, 0, 0}), 0);
  for (const std::uint64_t domain : std::array<std::uint64_t, 3>{AF_UNIX, AF_INET, AF_INET6})
    EXPECT_EQ(answer_of(rules, SYS_socket, {domain, 0, 0}), 0);
  for (std::uint64_t domain = 0; domain < AF_MAX + 3; ++domain) {
    if (domain == AF_UNIX || domain == AF_INET || domain == AF_INET6) continue;
    EXPECT_NE(answer_of(rules, SYS_socket, {domain, 0, 0}), 0) << domain;
    const int with_host = answer_of(oci_call_rules(Network::host), SYS_socket, {domain, 0, 0});
    EXPECT_EQ(with_host == 0, domain == AF_NETLINK) << domain;
  }
  EXPECT_EQ(answer_of(rules, SYS_personality, {0, 0, 0}), 0);
  EXPECT_EQ(answer_of(rules, SYS_personality, {0xffffffff, 0, 0}), 0);
  EXPECT_NE(answer_of(rules, SYS_personality, {0x0040000, 0, 0}), 0);  // ADDR_NO_RANDOMIZE
}

// Masks say "all but two numbers" in many pieces: none may be missing, none too many.
TEST(OciSeccomp, RefusesExactlyTwoIoctls) {
  const auto rules = oci_call_rules(Network::none);
  EXPECT_EQ(answer_of(rules, SYS_ioctl, {0, TIOCSTI, 0}), EPERM);
  EXPECT_EQ(answer_of(rules, SYS_ioctl, {0, TIOCLINUX, 0}), EPERM);
  // The kernel does not look at the upper half.
  EXPECT_EQ(answer_of(rules, SYS_ioctl, {0, TIOCSTI | 0x1'0000'0000, 0}), EPERM);
  for (std::uint64_t request = 0; request < 0x1'0000; ++request) {
    const bool refused = request == TIOCSTI || request == TIOCLINUX;
    ASSERT_EQ(answer_of(rules, SYS_ioctl, {0, request, 0}), refused ? EPERM : 0) << request;
  }
  for (unsigned bit = 16; bit < 32; ++bit) {
    EXPECT_EQ(answer_of(rules, SYS_ioctl, {0, TIOCSTI | std::uint64_t{1} << bit, 0}), 0) << bit;
  }
}

TEST(OciSeccomp, KnowsCallsByTheNamesOfTheirNumbers) {
  EXPECT_EQ(call_name(SYS_read), "read");
  EXPECT_EQ(call_name(SYS_rseq), "rseq");
  EXPECT_EQ(call_name(SYS_pidfd_send_signal), "pidfd_send_signal");
  EXPECT_EQ(call_name(SYS_clone3), "clone3");
  EXPECT_EQ(call_name(SYS_futex_waitv), "futex_waitv");
  EXPECT_EQ(call_name(340), "");
  EXPECT_EQ(call_name(10'000), "");
  std::set<std::string_view> names;
  for (std::uint32_t number = 0; number < kSharedCallsEnd; ++number) {
    if (const auto name = call_name(number); !name.empty()) EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_EQ(names.size(), 335U + 27U);
}

// ---- config.json

OciConfig some_config() {
  static constexpr std::array<const char*, 3> kArguments{"/bin/sh", "a \"quoted\" one", nullptr};
  static constexpr std::array<const char*, 2> kEnvironment{"A=line\nbreak", nullptr};
  OciConfig config;
  config.arguments = kArguments.data();
  config.environment = kEnvironment.data();
  config.root = "root";
  config.working_directory = "/tmp";
  config.hostname = "fn";
  config.user = kRunUid;
  config.users = {{.inside = 0, .outside = 1000, .count = 5}};
  config.mounts = {{.target = "/tmp", .type = "tmpfs", .source = "tmpfs", .options = {"nosuid", "size=5"}}};
  config.limits = {{.name = "RLIMIT_CORE", .value = 0}};
  return config;
}

TEST(OciConfigText, HoldsWhatASandboxIs) {
  OciConfig config = some_config();
  const auto json = oci_config(config);
  ASSERT_TRUE(json) << json.error().message;
  for (const char* part :
       {R"("args":["/bin/sh","a \"quoted\" one"])", R"("env":["A=line\u000abreak"])", R"("noNewPrivileges":true)",
        R"("bounding":[],"effective":[],"permitted":[],"inheritable":[],"ambient":[])", R"("readonly":true)",
        R"({"type":"user"})", R"({"type":"network"})", R"("uidMappings":[{"containerID":0,"hostID":1000,"size":5}])",
        R"("options":["nosuid","size=5"])", R"("/proc/kcore")", R"("readonlyPaths":["/proc/bus")",
        R"("defaultAction":"SCMP_ACT_ERRNO")", R"("rlimits":[{"type":"RLIMIT_CORE","hard":0,"soft":0}])"}) {
    EXPECT_NE(json->find(part), std::string::npos) << part << "\n" << *json;
  }
  EXPECT_EQ(json->find("cgroupsPath"), std::string::npos);
  EXPECT_EQ(json->find("hooks"), std::string::npos);
}

TEST(OciConfigText, HoldsWhatTheFunctionAskedFor) {
  OciConfig config = some_config();
  config.compat = true;
  config.network = Network::host;
  config.root_read_only = false;
  config.control_group = "/p/run-1";
  config.memory_bytes = 64;
  config.pids = 7;
  config.cpu_quota_us = 50'000;
  const auto json = oci_config(config);
  ASSERT_TRUE(json);
  for (const char* part : {R"("cgroupsPath":"/p/run-1")", R"("memory":{"limit":64})", R"("pids":{"limit":7})",
                           R"("cpu":{"quota":50000,"period":100000})", R"("readonly":false)",
                           R"("bounding":["CAP_CHOWN","CAP_DAC_OVERRIDE")", R"("ambient":[])"}) {
    EXPECT_NE(json->find(part), std::string::npos) << part << "\n" << *json;
  }
  EXPECT_EQ(json->find(R"({"type":"network"})"), std::string::npos);
}

TEST(OciConfigText, RefusesWhatJsonCannotSay) {
  OciConfig config = some_config();
  static constexpr std::array<const char*, 2> kBytes{"A=\xff", nullptr};
  config.environment = kBytes.data();
  const auto json = oci_config(config);
  ASSERT_FALSE(json);
  EXPECT_EQ(json.error().code, Errc::invalid_argument);
}

// ---- programs

class ProgramCheck : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& content, unsigned mode = 0755) {
    std::ofstream(root_ / name) << content;
    std::filesystem::permissions(root_ / name, std::filesystem::perms(mode));
  }
  int check(std::vector<const char*> candidates) {
    const Fd root(::open(root_.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return check_program(root.get(), candidates);
  }
  test::TempDir root_;
};

TEST_F(ProgramCheck, AnswersAsExecveWould) {
  write("elf", "\177ELF and so on");
  write("script", "#!/elf -x\n");
  write("nowhere", "#! /none\n");
  write("locked", "\177ELF", 0644);
  write("text", "words");
  write("empty", "");
  write("bare", "#!\n");
  write("self", "#!/self\n");
  std::filesystem::create_directory(root_ / "directory");
  std::filesystem::create_symlink("/elf", root_ / "link");
  std::filesystem::create_symlink("../../../../elf", root_ / "outside");
  EXPECT_EQ(check({"/elf"}), 0);
  EXPECT_EQ(check({"/script"}), 0);
  EXPECT_EQ(check({"/link"}), 0);
  EXPECT_EQ(check({"/outside"}), 0);  // the root is its own parent
  EXPECT_EQ(check({"/none"}), ENOENT);
  EXPECT_EQ(check({"/nowhere"}), ENOENT);
  EXPECT_EQ(check({"/elf/below"}), ENOENT);  // of those that are no directory the next candidate is tried
  EXPECT_EQ(check({"/locked"}), EACCES);
  EXPECT_EQ(check({"/directory"}), EACCES);
  EXPECT_EQ(check({"/text"}), ENOEXEC);
  EXPECT_EQ(check({"/empty"}), ENOEXEC);
  EXPECT_EQ(check({"/bare"}), ENOEXEC);
  EXPECT_EQ(check({"/self"}), ELOOP);
  EXPECT_EQ(check({"/none", "/locked", "/elf"}), 0);
  EXPECT_EQ(check({"/locked", "/none"}), EACCES);
  EXPECT_EQ(check({}), ENOENT);
  EXPECT_EQ(check({"/tmp/in/none"}), 0);  // nobody knows yet
}

TEST(ProgramSizes, AreThoseOfTheKernel) {
  const std::string fits(128 * 1024 - 1, 'x');
  const std::string too_long(128 * 1024, 'x');
  const std::array<const char*, 1> none{nullptr};
  const std::array<const char*, 2> one{fits.c_str(), nullptr};
  const std::array<const char*, 2> long_one{too_long.c_str(), nullptr};
  EXPECT_EQ(check_sizes(one.data(), none.data()), 0);
  EXPECT_EQ(check_sizes(none.data(), long_one.data()), E2BIG);
  std::vector<const char*> many(17, fits.c_str());
  many.back() = nullptr;
  EXPECT_EQ(check_sizes(one.data(), many.data()), E2BIG);  // 2 MiB together
}

// ---- the table of programs

TEST(LauncherRuntimes, AreReadWithTheirArguments) {
  const std::vector<const char*> arguments{"--prefix=p", "--daemon-uid=1", "--daemon-gid=1",
                                           "--runtime=runc=/usr/sbin/runc",
                                           "--runtime=crun=/usr/bin/crun  --cgroup-manager=disabled"};
  const auto options = parse_launcher_options(arguments);
  ASSERT_TRUE(options) << options.error().message;
  ASSERT_EQ(options->runtimes.size(), 2U);
  EXPECT_EQ(options->runtimes[0].name, "runc");
  EXPECT_EQ(options->runtimes[1].command, (std::vector<std::string>{"/usr/bin/crun", "--cgroup-manager=disabled"}));
}

TEST(LauncherRuntimes, AreRefusedWhenMalformed) {
  for (const char* runtime : {"--runtime=", "--runtime=runc", "--runtime=runc=", "--runtime=runc=runc",
                              "--runtime==/bin/x", "--runtime=a b=/bin/x", "--runtime=x=/bin/../x", "--runtime=x=/"}) {
    const std::vector<const char*> arguments{"--prefix=p", "--daemon-uid=1", "--daemon-gid=1", runtime};
    EXPECT_FALSE(parse_launcher_options(arguments)) << runtime;
  }
  std::vector<const char*> many{"--prefix=p", "--daemon-uid=1", "--daemon-gid=1"};
  many.insert(many.end(), kRuntimesMax, "--runtime=x=/bin/x");
  EXPECT_TRUE(parse_launcher_options(many));
  many.push_back("--runtime=x=/bin/x");
  EXPECT_FALSE(parse_launcher_options(many));
}

}  // namespace
}  // namespace millrace::launcher
