#include "app/host_remedies.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace millrace {
namespace {

constexpr std::string_view kAsRoot = "sudo millrace serve";
constexpr std::string_view kAsUnit = "systemd-run --user --pty -p Delegate=yes millrace serve --data DIR";

struct KnownRemedy {
  std::string_view control;
  std::string_view for_root;
  std::string_view for_user;     // with version 1 of control groups
  std::string_view for_user_v2;  // with version 2 alone
};

// Version 1 of control groups belongs to root alone.
constexpr std::string_view kControllers =
    "boot with cgroup_enable=memory, and mount the controllers memory, cpu and pids";
constexpr auto kRemedies = std::to_array<KnownRemedy>({
    {"memory", kControllers, kAsRoot, kAsUnit},
    {"cpu_weight", kControllers, kAsRoot, kAsUnit},
    {"cpu_quota", kControllers, kAsRoot, kAsUnit},
    {"pids", kControllers, kAsRoot, kAsUnit},
    {"kill_group", kControllers, kAsRoot, kAsUnit},
    {"isolation", "", kAsRoot, kAsRoot},
    {"seccomp", "", kAsRoot, kAsRoot},
    {"idmapped_mounts", "", kAsRoot, kAsRoot},
    {"user_ids", "", kAsRoot, kAsRoot},
    {"write_check", "", kAsRoot, kAsRoot},
    {"network_private", "apt-get install slirp4netns; modprobe tun", kAsRoot, kAsRoot},
    {"oci_runtimes", "apt-get install runc", kAsRoot, kAsRoot},
    {"user", "scripts/make_user", "", ""},
    {"images", "MILLRACE_IMAGE_DIRECTORIES=/srv/images", "", ""},
});

}  // namespace

std::string remedy_of(const Control& control, const RemedyHost& host) {
  if (control.state == ControlState::real) return {};
  const auto* const known = std::ranges::find(kRemedies, control.name, &KnownRemedy::control);
  if (known == kRemedies.end()) return {};
  if (host.root) return std::string(known->for_root);
  return std::string(host.groups_v2 ? known->for_user_v2 : known->for_user);
}

std::vector<Remedy> remedies_of(const std::vector<Control>& controls, const RemedyHost& host) {
  std::vector<Remedy> remedies;
  for (const Control& control : controls) {
    const std::string what = remedy_of(control, host);
    if (what.empty()) continue;
    const auto found = std::ranges::find(remedies, what, &Remedy::what);
    if (found == remedies.end()) {
      remedies.push_back({.what = what, .controls = control.name});
    } else {
      found->controls += ", " + control.name;
    }
  }
  return remedies;
}

}  // namespace millrace
