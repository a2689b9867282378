#include "runtime/launched/host_check.h"

#include <unistd.h>

#include <array>
#include <string_view>

#include "core/units.h"
#include "runtime/launched/script.h"

namespace millrace::launched {
namespace {

struct ControlName {
  launcher::Control control;
  std::string_view name;
};

constexpr std::array<ControlName, launcher::kControls> kControlNames = {{
    {launcher::Control::memory, "memory"},
    {launcher::Control::cpu_weight, "cpu_weight"},
    {launcher::Control::cpu_quota, "cpu_quota"},
    {launcher::Control::pids, "pids"},
    {launcher::Control::kill_group, "kill_group"},
    {launcher::Control::namespaces, "isolation"},
    {launcher::Control::seccomp, "seccomp"},
    {launcher::Control::idmapped_mounts, "idmapped_mounts"},
    {launcher::Control::read_leases, "write_check"},
}};

ControlState state_of(launcher::Support support) {
  switch (support) {
    case launcher::Support::real: return ControlState::real;
    case launcher::Support::emulated: return ControlState::emulated;
    case launcher::Support::missing: return ControlState::missing;
  }
  return ControlState::missing;
}

bool missing(const Host& host, launcher::Control control) {
  return host.hello.of(control).support == launcher::Support::missing;
}

// One limit of a spec and what enforces it.
struct Limit {
  launcher::Control control;
  std::string text;  // "memory: 256Mi"
  bool by_author;
};

std::vector<Limit> limits_of(const FunctionSpec& function) {
  std::vector<Limit> limits = {
      {launcher::Control::memory, "memory: " + format_bytes(function.memory_bytes), function.memory_explicit},
      {launcher::Control::pids, "limits.pids: " + std::to_string(function.limits.pids), function.limits.pids_explicit},
      {launcher::Control::cpu_weight, "cpu: " + format_millicores(function.cpu_millicores), false}};
  if (function.limits.cpu_millicores > 0) {
    // There is no default quota: somebody wrote it.
    limits.push_back(
        {launcher::Control::cpu_quota, "limits.cpu: " + format_millicores(function.limits.cpu_millicores), true});
  }
  return limits;
}

// What takes a root file system of one's own.
Result<void> check_process_fields(const FunctionSpec& function) {
  if (function.executor != ExecutorKind::process) return {};
  const auto refuse = [](const std::string& field) {
    return fail(Errc::invalid_argument, field +
                                            " cannot be had with executor: process, which isolates nothing; write "
                                            "executor: container");
  };
  if (function.image != "host") return refuse("image '" + function.image + "'");
  if (function.profile != ProfileKind::strict) return refuse("profile: " + std::string(name_of(function.profile)));
  if (!function.secrets.empty()) return refuse("secrets");
  if (!function.files.empty()) return refuse("files");
  return {};
}

Result<void> check_fields(const FunctionSpec& function, const Host& host) {
  const bool directory = function.image.starts_with(kRootfsPrefix);
  if (function.image != "host" && !directory) {
    return fail(Errc::invalid_argument, "image '" + function.image +
                                            "' is unknown: this version runs image: host, which shows the programs of "
                                            "this machine to the function, and image: rootfs:/path, a directory with a "
                                            "root file system");
  }
  if (function.root == RootKind::copy_on_write && !directory) {
    return fail(Errc::invalid_argument,
                "root: copy_on_write needs an image of its own (rootfs:/path): image: host is always read-only");
  }
  if (auto supported = check_process_fields(function); !supported) return supported;
  if (function.memory_bytes > host.memory_bytes) {
    return fail(Errc::invalid_argument, "memory: " + format_bytes(function.memory_bytes) +
                                            " is more than this machine has (" + format_bytes(host.memory_bytes) +
                                            "); lower it");
  }
  if (function.script.size() > launcher::kScriptBytesMax) {
    return fail(Errc::too_large, "script: " + std::to_string(function.script.size()) + " bytes, at most " +
                                     format_bytes(launcher::kScriptBytesMax) + " are possible; let it call a program");
  }
  if (interpreter_of(function.script) == "") {
    return fail(Errc::invalid_argument, "script: its first line '#!' names no interpreter; write '#!/bin/sh'");
  }
  return {};
}

Result<void> check_isolation(const FunctionSpec& function, const Host& host) {
  if (function.executor != ExecutorKind::container) return {};
  const std::string lacks = missing_isolation(host.hello);
  if (lacks.empty()) return {};
  return fail(Errc::failed_precondition,
              "executor: container is not possible on this host: " + lacks +
                  "; start the server as root, or write executor: process (no isolation, for development)");
}

}  // namespace

std::vector<Control> controls_of(const launcher::Hello& hello, ExecutorKind kind) {
  std::vector<Control> controls;
  for (const auto& [control, name] : kControlNames) {
    const bool isolation = control == launcher::Control::namespaces || control == launcher::Control::seccomp ||
                           control == launcher::Control::idmapped_mounts;
    if (isolation && kind == ExecutorKind::process) continue;
    const auto& state = hello.of(control);
    controls.push_back({.name = std::string(name), .state = state_of(state.support), .detail = state.reason});
  }
  if (kind == ExecutorKind::process) {
    controls.push_back({.name = "isolation",
                        .state = ControlState::missing,
                        .detail = "executor process has none: use executor container for code you do not trust"});
  }
  controls.push_back({.name = "output_bytes",
                      .state = ControlState::emulated,
                      .detail = "sampled every 100 ms; exact for each single file"});
  return controls;
}

std::string missing_isolation(const launcher::Hello& hello) {
  const auto& namespaces = hello.of(launcher::Control::namespaces);
  const auto& seccomp = hello.of(launcher::Control::seccomp);
  const bool no_namespaces = namespaces.support != launcher::Support::real;
  const bool no_seccomp = seccomp.support != launcher::Support::real;
  if (no_namespaces && no_seccomp && namespaces.reason == seccomp.reason) {
    return "namespaces and seccomp (" + seccomp.reason + ")";
  }
  std::string text;
  if (no_namespaces) text = "namespaces (" + namespaces.reason + ")";
  if (no_seccomp) text += (text.empty() ? "seccomp (" : ", seccomp (") + seccomp.reason + ")";
  return text;
}

Result<std::vector<std::string>> check_function(const FunctionSpec& function, const Host& host) {
  if (auto fields = check_fields(function, host); !fields) return fail(fields.error());
  if (auto isolation = check_isolation(function, host); !isolation) return fail(isolation.error());

  std::vector<std::string> warnings;
  for (const Limit& limit : limits_of(function)) {
    if (!missing(host, limit.control)) continue;
    const std::string& reason = host.hello.of(limit.control).reason;
    if (limit.by_author) {
      return fail(Errc::failed_precondition,
                  limit.text + " cannot be enforced on this host: " + reason +
                      "; start the server with the rights to "
                      "this cgroup controller (`millrace check` shows them), or remove the limit");
    }
    warnings.push_back(limit.text + " (default) is not enforced on this host: " + reason);
  }
  if (function.executor == ExecutorKind::process) {
    warnings.emplace_back(
        "executor: process isolates nothing: the function reaches the network, files and processes of this machine as "
        "the server's user, and limits.scratch does not hold");
  }
  return warnings;
}

std::uint64_t machine_memory_bytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return 0;
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes);
}

}  // namespace millrace::launched
