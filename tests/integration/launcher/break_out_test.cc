// The break-out probe (tests/probe) inside real sandboxes: both profiles, every kind of image. Nothing may leak; and
// where a part of the isolation is missing, the probe must say so.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "tests/integration/launcher/launcher_rig.h"
#include "tests/integration/launcher/test_image.h"
#include "tests/support/oci_runtime.h"

namespace millrace::launcher {
namespace {

constexpr std::size_t kAttemptsMin = 120;

// What the probe said of each attempt: the verdict, and the whole line.
struct Report {
  std::map<std::string, std::string> verdicts;
  std::string leaks;
  std::string all;
};

Report read_report(const std::string& text) {
  Report report;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id;
    std::string verdict;
    if (!(words >> id >> verdict) || id.size() != 3) continue;
    report.verdicts[id] = verdict;
    if (verdict == "LEAK") report.leaks += line + "\n";
  }
  report.all = text;
  return report;
}

// Somebody whom a sandbox without namespaces of its own would reach.
class Observers {
 public:
  Observers() {
    sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
    constexpr std::string_view kName = "millrace-break-out-probe";
    std::ranges::copy(kName, name.sun_path + 1);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + kName.size());
    EXPECT_EQ(::bind(abstract_.get(), reinterpret_cast<const sockaddr*>(&name), size), 0);
    EXPECT_EQ(::listen(abstract_.get(), 8), 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(8090);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    // Taken by a server of this machine: as good.
    if (::bind(loopback_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      EXPECT_EQ(::listen(loopback_.get(), 8), 0);
    }
  }

 private:
  Fd abstract_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  Fd loopback_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  EXPECT_NE(value, nullptr) << name << " is set by ctest";
  return value == nullptr ? "" : value;
}

class BreakOut : public ::testing::Test {
 protected:
  void SetUp() override {
    MILLRACE_NEEDS_ROOT();
    MILLRACE_NEEDS_BUSYBOX();
    image_.emplace();
    // A device that came with the image, as an unpacked layer may hold one: /dev/mem.
    ASSERT_EQ(::mknod((image_->path() + "/data/device").c_str(), S_IFCHR | 0666, makedev(1, 1)), 0);
    ASSERT_EQ(::chmod((image_->path() + "/data/device").c_str(), 0666), 0);
    start(from_environment("MILLRACE_LAUNCHER"));
    probe_ = files_.file("probe", read_text(from_environment("MILLRACE_PROBE_ATTEMPTS")), 0755);
  }

  void start(const std::string& launcher) {
    rig_.reset();
    const std::string usual = from_environment("MILLRACE_LAUNCHER");
    ::setenv("MILLRACE_LAUNCHER", launcher.c_str(), 1);
    std::vector<std::string> arguments{"--images=" + image_->place()};
    for (const char* runtime : {"runc", "crun"}) {
      if (const std::string flag = test::oci_runtime_flag(runtime); !flag.empty()) arguments.push_back(flag);
    }
    rig_.emplace(LauncherRig::usual(), arguments);
    ::setenv("MILLRACE_LAUNCHER", usual.c_str(), 1);
  }

  Report try_all(Image image, Profile profile, std::vector<std::string> more = {}, const std::string& runtime = {}) {
    const Fd directory = image_->open();
    rig_->prepare({.template_id = ++template_,
                   .kind = runtime.empty() ? Kind::container : Kind::oci,
                   .profile = profile,
                   .image = image,
                   .runtime = runtime},
                  image == Image::host ? -1 : directory.get(), {{.path = "key", .content = "k", .secret = true}},
                  "#!/bin/sh\nexit 0\n");
    const Limits limits{.memory_bytes = 256 << 20, .pids = 64, .scratch_bytes = 8 << 20, .scratch_inodes = 512};
    // What the run before leaves behind where it may.
    rig_->run({.template_id = template_,
               .argv = {"/bin/sh", "-c",
                        "for d in /tmp /dev/shm /bin; do echo x >$d/left-by-the-probe; done 2>/dev/null; true"},
               .limits = limits});
    RunSpec spec{.template_id = template_,
                 .argv = {"/tmp/in/probe"},
                 .limits = limits,
                 .inputs = {{{.name = "probe"}, probe_.get()}}};
    if (profile == Profile::compat) more.emplace_back("--compat");
    if (image == Image::directory_copy) more.emplace_back("--own-root");
    spec.argv.insert(spec.argv.end(), more.begin(), more.end());
    const auto result = rig_->run(spec);
    EXPECT_TRUE(result.started) << name_of(result.failed.step) << " " << result.failed.error;
    return read_report(result.output + result.errors);
  }

  void expect_no_leaks(Image image, Profile profile, const std::string& runtime = {}) {
    SCOPED_TRACE(runtime);
    Report report = try_all(image, profile, {}, runtime);
    // A runtime cannot give capabilities and empty the bounding set: the ones of `compat` stay in it.
    if (!runtime.empty() && profile == Profile::compat && report.verdicts["E04"] == "LEAK") {
      EXPECT_EQ(std::ranges::count(report.leaks, '\n'), 1) << report.leaks;
      EXPECT_TRUE(report.leaks.starts_with("E04 ")) << report.leaks;
      return;
    }
    EXPECT_EQ(report.leaks, "");
    EXPECT_GE(report.verdicts.size(), kAttemptsMin) << report.all;
    EXPECT_NE(report.all.find("leaks 0\n"), std::string::npos) << report.all;
    // Every family has its share, so that no part of the table is lost unseen.
    for (const char family : std::string("ABCDEFGHIJ")) {
      EXPECT_TRUE(std::ranges::any_of(report.verdicts, [family](const auto& row) { return row.first[0] == family; }))
          << family;
    }
    if (profile == Profile::strict) {
      for (const auto& [id, verdict] : report.verdicts) {
        if (verdict == "allowed") EXPECT_EQ(image, Image::directory_copy) << id;
      }
    }
  }

  std::size_t leaks_of(const Report& report, char family) {
    return static_cast<std::size_t>(std::ranges::count_if(
        report.verdicts, [family](const auto& row) { return row.first[0] == family && row.second == "LEAK"; }));
  }

  Observers observers_;
  TestDirectory files_;
  std::optional<TestImage> image_;
  std::optional<LauncherRig> rig_;
  Fd probe_;
  std::uint32_t template_ = 0;
};

TEST_F(BreakOut, NothingLeaksInStrictWithTheHostsImage) {
  expect_no_leaks(Image::host, Profile::strict);
}

TEST_F(BreakOut, NothingLeaksInStrictWithAnImageOfItsOwn) {
  expect_no_leaks(Image::directory, Profile::strict);
}

TEST_F(BreakOut, NothingLeaksInStrictWithACopyOnWriteRoot) {
  expect_no_leaks(Image::directory_copy, Profile::strict);
}

TEST_F(BreakOut, CompatLeaksNothingBeyondWhatItIsFor) {
  expect_no_leaks(Image::host, Profile::compat);
  expect_no_leaks(Image::directory, Profile::compat);
  expect_no_leaks(Image::directory_copy, Profile::compat);
}

TEST_F(BreakOut, NothingLeaksInContainersOfOciRuntimes) {
  const std::vector<std::string> runtimes = rig_->hello().runtimes;
  if (runtimes.empty()) GTEST_SKIP() << rig_->hello().no_runtimes;
  for (const std::string& runtime : runtimes) {
    for (const Image image : {Image::host, Image::directory, Image::directory_copy}) {
      expect_no_leaks(image, Profile::strict, runtime);
      expect_no_leaks(image, Profile::compat, runtime);
    }
  }
}

// ---- the probe itself

TEST_F(BreakOut, FindsOutThatTheFilterIsMissing) {
  start(from_environment("MILLRACE_LAUNCHER_WITHOUT_FILTER"));
  const Report report = try_all(Image::host, Profile::strict);
  EXPECT_EQ(report.verdicts.at("D01"), "LEAK") << report.all;  // a user namespace, and with it all capabilities in it
  EXPECT_EQ(report.verdicts.at("E49"), "LEAK");
  EXPECT_GE(leaks_of(report, 'D') + leaks_of(report, 'E') + leaks_of(report, 'F'), 5U) << report.leaks;
  // What does not rest on the filter still holds.
  EXPECT_EQ(report.verdicts.at("C17"), "held");
  EXPECT_EQ(report.verdicts.at("F25"), "held");
}

TEST_F(BreakOut, FindsOutThatThereAreNoNamespaces) {
  rig_->prepare(50, Kind::process);
  const std::string program = files_.path() + "/probe";
  const auto result = rig_->run({.template_id = 50, .argv = {program, "--no-bounds"}});
  const Report report = read_report(result.output + result.errors);
  ASSERT_GE(report.verdicts.size(), kAttemptsMin) << report.all;
  for (const char* id : {"C32", "E09", "F06", "F28", "F25"}) EXPECT_EQ(report.verdicts.at(id), "LEAK") << id;
}

TEST_F(BreakOut, FindsOutWhatCompatAllows) {
  // Without being told that it is meant.
  const Fd directory = image_->open();
  rig_->prepare({.template_id = 60, .profile = Profile::compat, .image = Image::directory_copy}, directory.get(), {});
  const auto result =
      rig_->run({.template_id = 60, .argv = {"/tmp/in/probe"}, .inputs = {{{.name = "probe"}, probe_.get()}}});
  const Report report = read_report(result.output);
  for (const char* id : {"E01", "E10", "E11", "B32"}) EXPECT_EQ(report.verdicts.at(id), "LEAK") << id << report.all;
}

TEST(BreakOutTable, IsWhatTheDocumentationShows) {
  const std::string program = from_environment("MILLRACE_PROBE_ATTEMPTS");
  const TestDirectory files;
  const std::string path = files.path() + "/list";
  ASSERT_EQ(std::system((program + " --list > " + path).c_str()), 0);  // NOLINT(concurrency-mt-unsafe): one thread
  EXPECT_EQ(read_text(path),
            read_text(from_environment("MILLRACE_SOURCE_DIR") + "/docs/operations/break-out-attempts.md"))
      << "make the page anew: " << program << " --list > docs/operations/break-out-attempts.md";
}

}  // namespace
}  // namespace millrace::launcher
