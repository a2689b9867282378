#include "runtime/launched/host_check.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/launched/prepare_request.h"

namespace millrace::launched {
namespace {

class HostCheck : public testing::Test {
 protected:
  HostCheck() {
    host_.hello.privileged = true;
    for (auto& control : host_.hello.controls) control.support = launcher::Support::real;
    function_.name = "sample";
    function_.script = "echo";
  }

  void take_away(launcher::Control control) {
    host_.hello.controls[static_cast<std::size_t>(control)] = {.support = launcher::Support::missing,
                                                               .reason = "no controller is mounted"};
  }

  std::string refusal() {
    const auto result = check_function(function_, host_);
    return result ? "" : result.error().message;
  }

  Host host_;
  FunctionSpec function_;
};

TEST_F(HostCheck, IsSilentWhereEverythingHolds) {
  const auto result = check_function(function_, host_);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->empty());
}

TEST_F(HostCheck, RefusesUnknownImages) {
  function_.image = "ghcr.io/grycap/cowsay";
  EXPECT_TRUE(refusal().starts_with("image 'ghcr.io/grycap/cowsay' is unknown: this version runs image: host, which"));
}

TEST_F(HostCheck, TakesCopyOnWriteOnlyForAnImageOfItsOwn) {
  function_.root = RootKind::copy_on_write;
  EXPECT_TRUE(refusal().starts_with("root: copy_on_write needs an image of its own"));
  function_.image = "rootfs:/srv/images/debian";
  EXPECT_EQ(refusal(), "");
}

TEST_F(HostCheck, RefusesWhatAProcessWithoutIsolationCannotHave) {
  function_.executor = ExecutorKind::process;
  EXPECT_EQ(refusal(), "");
  auto wanted = function_;
  wanted.image = "rootfs:/srv/images/debian";
  auto compat = function_;
  compat.profile = ProfileKind::compat;
  auto secret = function_;
  secret.secrets["token"] = "hunter2";
  auto file = function_;
  file.files["/etc/app.conf"] = "x";
  auto alone = function_;
  alone.network_explicit = true;
  for (const auto& [spec, field] :
       {std::pair(wanted, "image 'rootfs:/srv/images/debian'"), std::pair(compat, "profile: compat"),
        std::pair(secret, "secrets"), std::pair(file, "files"), std::pair(alone, "network: none")}) {
    function_ = spec;
    EXPECT_EQ(refusal(),
              std::string(field) +
                  " cannot be had with executor: process, which isolates nothing; write executor: container");
  }
}

TEST_F(HostCheck, RefusesScriptsThatCannotRun) {
  function_.script.assign(launcher::kScriptBytesMax, 'x');
  EXPECT_EQ(refusal(), "");
  function_.script += 'x';
  EXPECT_TRUE(refusal().starts_with("script: 1048577 bytes, at most 1Mi"));
  function_.script = "#!\n";
  EXPECT_TRUE(refusal().starts_with("script: its first line '#!' names no interpreter"));
}

TEST_F(HostCheck, WarnsAboutDefaultsThatDoNotHold) {
  take_away(launcher::Control::memory);
  take_away(launcher::Control::cpu_weight);
  const auto result = check_function(function_, host_);
  ASSERT_TRUE(result);
  ASSERT_EQ(result->size(), 2U);
  EXPECT_EQ(result->front(), "memory: 256Mi (default) is not enforced on this host: no controller is mounted");
}

TEST_F(HostCheck, RefusesAnAuthorsLimitThatCannotHold) {
  take_away(launcher::Control::pids);
  function_.limits.pids_explicit = true;
  EXPECT_TRUE(refusal().starts_with("limits.pids: 512 cannot be enforced on this host: no controller is mounted;"));
}

TEST_F(HostCheck, TakesAShareOfTheCpuForAnAuthorsUnlessItIsTheDefault) {
  take_away(launcher::Control::cpu_weight);
  EXPECT_EQ(refusal(), "");
  function_.cpu_millicores = 2000;
  EXPECT_EQ(refusal(),
            "cpu: 2 cannot be enforced on this host: no controller is mounted; see `millrace check` for what enables "
            "it, or remove the limit");
}

TEST_F(HostCheck, RefusesMoreOpenFilesThanAProcessCanHaveHere) {
  host_.open_files_max = 20'000;
  function_.limits.open_files = 20'000;
  EXPECT_EQ(refusal(), "");
  ++function_.limits.open_files;
  EXPECT_EQ(refusal(),
            "limits.open_files: 20001 is more than this server's own bound of 20000; lower it, or start the server "
            "with more (`ulimit -Hn`, or LimitNOFILE= of its unit)");
  function_.limits = {};
  host_.open_files_max = 512;
  const auto result = check_function(function_, host_);
  ASSERT_TRUE(result);
  ASSERT_EQ(result->size(), 1U);
  EXPECT_EQ(result->front(),
            "limits.open_files: 1024 (default) is more than this server's own bound of 512, which holds instead");
}

TEST_F(HostCheck, TakesEveryQuotaForAnAuthors) {
  take_away(launcher::Control::cpu_quota);
  EXPECT_EQ(refusal(), "");
  function_.limits.cpu_millicores = 500;
  EXPECT_TRUE(refusal().starts_with("limits.cpu: 500m cannot be enforced on this host")) << refusal();
}

TEST_F(HostCheck, RefusesAContainerWithoutIsolation) {
  take_away(launcher::Control::seccomp);
  EXPECT_TRUE(
      refusal().starts_with("executor: container is not possible on this host: seccomp (no controller is mounted); "
                            "start the server as root"));
  function_.executor = ExecutorKind::process;
  const auto result = check_function(function_, host_);
  ASSERT_TRUE(result);
  ASSERT_EQ(result->size(), 1U);
  EXPECT_TRUE(result->front().starts_with("executor: process isolates nothing"));
}

TEST_F(HostCheck, RefusesWhatNeedsSeveralUsersWhereThereIsOne) {
  take_away(launcher::Control::user_ids);
  EXPECT_EQ(refusal(), "");
  function_.profile = ProfileKind::compat;
  EXPECT_TRUE(refusal().starts_with("profile: compat is not possible on this host: it needs several users"));
  function_.profile = ProfileKind::strict;
  function_.executor = ExecutorKind::oci;
  host_.hello.privileged = false;
  host_.hello.no_runtimes = "only root calls them";
  EXPECT_TRUE(refusal().starts_with(
      "executor: oci is not possible on this host: only root calls them; start the server as root, or write"))
      << refusal();
}

TEST_F(HostCheck, RefusesAnOciRuntimeThatIsNotThereOrCannotStart) {
  function_.executor = ExecutorKind::oci;
  host_.hello.no_runtimes = "none is installed";
  EXPECT_TRUE(refusal().starts_with("executor: oci is not possible on this host: none is installed; install runc"));
  host_.hello.runtimes = {"runc", "crun"};
  EXPECT_EQ(refusal(), "");
  function_.oci_runtime = "runsc";
  EXPECT_TRUE(refusal().starts_with("runtime: runsc is none of those that this server has (runc, crun)")) << refusal();
  function_.oci_runtime = "crun";
  EXPECT_EQ(refusal(), "");
  auto small = function_;
  small.limits.pids = kOciPidsMin - 1;
  EXPECT_FALSE(check_function(small, host_));
  small = function_;
  small.memory_bytes = kOciMemoryBytesMin - 1;
  EXPECT_FALSE(check_function(small, host_));
  take_away(launcher::Control::namespaces);
  EXPECT_TRUE(refusal().starts_with("executor: oci is not possible on this host: namespaces")) << refusal();
}

TEST_F(HostCheck, RefusesTheHostsNetworkUnlessItIsAllowed) {
  function_.network = NetworkKind::host;
  EXPECT_TRUE(refusal().starts_with("network: host is not allowed by this server")) << refusal();
  host_.allow_host_network = true;
  EXPECT_EQ(refusal(), "");
}

TEST_F(HostCheck, APrivateNetworkIsHadOrRefusedAndADefaultIsWarnedOf) {
  function_.network = NetworkKind::outbound;
  EXPECT_EQ(refusal(), "");
  take_away(launcher::Control::private_network);
  const auto warned = check_function(function_, host_);
  ASSERT_TRUE(warned);
  ASSERT_EQ(warned->size(), 1U);
  EXPECT_EQ(warned->front(),
            "network: private (default) is not possible: no controller is mounted; the function gets no network");
  function_.network_explicit = true;
  EXPECT_TRUE(refusal().starts_with("network: private is not possible: no controller is mounted; mend that"));
  function_.executor = ExecutorKind::process;
  EXPECT_TRUE(refusal().starts_with("network: private cannot be had with executor: process"));
  function_.executor = ExecutorKind::oci;
  host_.hello.runtimes = {"runc"};
  EXPECT_TRUE(refusal().starts_with("network: private is not possible: executor: oci has none")) << refusal();
}

TEST_F(HostCheck, AsksForAPrivateNetworkOnlyWhereItCanBeOrMustBe) {
  function_.network = NetworkKind::outbound;
  const auto asked = [this](launcher::Support support) {
    const TemplatePlan plan{.function = std::make_shared<const FunctionSpec>(function_)};
    return prepare_request(plan, 1, support).network;
  };
  EXPECT_EQ(asked(launcher::Support::real), launcher::Network::outbound);
  EXPECT_EQ(asked(launcher::Support::missing), launcher::Network::none);
  function_.network_explicit = true;
  EXPECT_EQ(asked(launcher::Support::missing), launcher::Network::outbound);
  function_.network = NetworkKind::host;
  EXPECT_EQ(asked(launcher::Support::real), launcher::Network::host);
}

TEST_F(HostCheck, NamesEveryMissingPartOfTheIsolation) {
  EXPECT_EQ(missing_isolation(host_.hello), "");
  take_away(launcher::Control::idmapped_mounts);  // there is another way
  take_away(launcher::Control::memory);           // a limit
  EXPECT_EQ(missing_isolation(host_.hello), "");
  take_away(launcher::Control::namespaces);
  EXPECT_EQ(missing_isolation(host_.hello), "namespaces (no controller is mounted)");
  take_away(launcher::Control::seccomp);
  EXPECT_EQ(missing_isolation(host_.hello), "namespaces and seccomp (no controller is mounted)");
  host_.hello.controls[static_cast<std::size_t>(launcher::Control::seccomp)].reason = "an old kernel";
  EXPECT_EQ(missing_isolation(host_.hello), "namespaces (no controller is mounted), seccomp (an old kernel)");
}

TEST_F(HostCheck, ListsTheControlsOfEachKind) {
  const auto has = [](const std::vector<Control>& all, const std::string& name, ControlState state) {
    return std::ranges::any_of(all, [&](const Control& one) { return one.name == name && one.state == state; });
  };
  take_away(launcher::Control::memory);
  const auto container = controls_of(host_.hello, ExecutorKind::container);
  EXPECT_TRUE(has(container, "memory", ControlState::missing));
  EXPECT_TRUE(has(container, "isolation", ControlState::real));
  EXPECT_TRUE(has(container, "output_bytes", ControlState::emulated));
  const auto process = controls_of(host_.hello, ExecutorKind::process);
  EXPECT_TRUE(has(process, "isolation", ControlState::missing));
  EXPECT_FALSE(has(process, "seccomp", ControlState::real));
}

}  // namespace
}  // namespace millrace::launched
