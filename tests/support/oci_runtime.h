// The OCI runtimes that tests find on this machine.
#pragma once

#include <unistd.h>

#include <string>

namespace millrace::test {

// The launcher's argument for the runtime of that name; empty where it is not installed.
inline std::string oci_runtime_flag(const std::string& name) {
  for (const std::string place : {"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/"}) {
    if (::access((place + name).c_str(), X_OK) != 0) continue;
    // On a host with both versions of control groups crun works only so.
    const bool refuses = name == "crun" && ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) != 0;
    return "--runtime=" + name + "=" + place + name + (refuses ? " --cgroup-manager=disabled" : "");
  }
  return {};
}

}  // namespace millrace::test
