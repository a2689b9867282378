#include "app/oci_runtimes.h"

#include <unistd.h>

#include <array>

namespace millrace {
namespace {

constexpr std::array kPlaces{"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/"};

std::string installed(const std::string& name) {
  for (const std::string place : kPlaces) {
    if (::access((place + name).c_str(), X_OK) == 0) return place + name;
  }
  return {};
}

bool only_groups_of_version_2() {
  return ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
}

}  // namespace

std::vector<std::string> oci_runtime_flags(const Config& config) {
  std::vector<std::string> flags;
  for (const std::string& runtime : config.oci_runtimes) flags.push_back("--runtime=" + runtime);
  if (!flags.empty()) return flags;
  for (const std::string name : {"runc", "crun"}) {
    std::string program = installed(name);
    if (program.empty()) continue;
    // It refuses hosts that have both versions; the launcher keeps the limits then.
    if (name == "crun" && !only_groups_of_version_2()) program += " --cgroup-manager=disabled";
    flags.push_back("--runtime=" + name + "=" + program);
  }
  return flags;
}

}  // namespace millrace
