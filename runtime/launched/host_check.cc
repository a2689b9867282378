#include "runtime/launched/host_check.h"

#include <sys/resource.h>

#include <algorithm>
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
    {launcher::Control::private_network, "network_private"},
    {launcher::Control::user_ids, "user_ids"},
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
      {launcher::Control::cpu_weight, "cpu: " + format_millicores(function.cpu_millicores), function.cpu_explicit()}};
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
  if (function.network != NetworkKind::host && function.network_explicit) {
    return refuse(function.network == NetworkKind::none ? "network: none" : "network: private");
  }
  return {};
}

Result<void> check_fields(const FunctionSpec& function) {
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
  if (function.executor == ExecutorKind::process) return {};
  const std::string lacks = missing_isolation(host.hello);
  if (lacks.empty() && function.profile == ProfileKind::compat && missing(host, launcher::Control::user_ids)) {
    return fail(Errc::failed_precondition, "profile: compat is not possible on this host: it needs several users (" +
                                               host.hello.of(launcher::Control::user_ids).reason +
                                               "); start the server as root, or write profile: strict");
  }
  if (lacks.empty()) return {};
  return fail(Errc::failed_precondition,
              "executor: " + std::string(name_of(function.executor)) + " is not possible on this host: " + lacks +
                  "; start the server as root, or write executor: process (no isolation, for development)");
}

// What an OCI runtime needs beside what a container needs.
Result<void> check_runtime(const FunctionSpec& function, const Host& host) {
  if (function.executor != ExecutorKind::oci) return {};
  const auto& known = host.hello.runtimes;
  if (known.empty()) {
    return fail(Errc::failed_precondition,
                "executor: oci is not possible on this host: " + host.hello.no_runtimes +
                    (host.hello.privileged ? "; install runc or crun" : "; start the server as root") +
                    ", or write executor: container");
  }
  if (!function.oci_runtime.empty() && std::ranges::find(known, function.oci_runtime) == known.end()) {
    std::string names;
    for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
    return fail(Errc::failed_precondition, "runtime: " + function.oci_runtime +
                                               " is none of those that this server has (" + names +
                                               "); name its program in oci_runtimes");
  }
  // The runtime's own threads and pages count until the function begins.
  if (function.limits.pids < kOciPidsMin) {
    return fail(Errc::invalid_argument, "limits.pids: " + std::to_string(function.limits.pids) +
                                            " is less than an OCI runtime needs to start; write at least " +
                                            std::to_string(kOciPidsMin) + ", or executor: container");
  }
  if (function.memory_bytes < kOciMemoryBytesMin) {
    return fail(Errc::invalid_argument, "memory: " + format_bytes(function.memory_bytes) +
                                            " is less than an OCI runtime needs to start; write at least " +
                                            format_bytes(kOciMemoryBytesMin) + ", or executor: container");
  }
  return {};
}

// A process cannot be given more than what started it has.
Result<void> check_open_files(const FunctionSpec& function, const Host& host, std::vector<std::string>& warnings) {
  const std::uint32_t wanted = function.limits.open_files;
  if (wanted <= host.open_files_max) return {};
  const std::string field = "limits.open_files: " + std::to_string(wanted);
  const std::string lack = " is more than this server's own bound of " + std::to_string(host.open_files_max);
  if (wanted != LimitsSpec{}.open_files) {
    return fail(Errc::failed_precondition, field + lack +
                                               "; lower it, or start the server with more (`ulimit -Hn`, or "
                                               "LimitNOFILE= of its unit)");
  }
  warnings.push_back(field + " (default)" + lack + ", which holds instead");
  return {};
}

// The network that the author wrote must be had; of a default it is enough to say that it is none.
Result<void> check_network(const FunctionSpec& function, const Host& host, std::vector<std::string>& warnings) {
  if (function.executor == ExecutorKind::process) return {};
  if (function.network == NetworkKind::host && !host.allow_host_network) {
    return fail(Errc::failed_precondition,
                "network: host is not allowed by this server: it opens to the function what listens on this machine's "
                "loopback, the server itself included; write network: private, or start the server with "
                "allow_host_network: yes");
  }
  if (function.network != NetworkKind::outbound) return {};
  std::string reason;
  if (function.executor != ExecutorKind::container) {
    reason = "executor: " + std::string(name_of(function.executor)) + " has none";
  } else if (missing(host, launcher::Control::private_network)) {
    reason = host.hello.of(launcher::Control::private_network).reason;
  }
  if (reason.empty()) return {};
  if (function.network_explicit) {
    return fail(Errc::failed_precondition, "network: private is not possible: " + reason +
                                               "; mend that (`millrace check` shows it), or write network: none");
  }
  warnings.push_back("network: private (default) is not possible: " + reason + "; the function gets no network");
  return {};
}

}  // namespace

std::uint64_t own_open_files_max() {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  return files.rlim_max;
}

std::vector<Control> controls_of(const launcher::Hello& hello, ExecutorKind kind) {
  std::vector<Control> controls;
  for (const auto& [control, name] : kControlNames) {
    const bool isolation = control == launcher::Control::namespaces || control == launcher::Control::seccomp ||
                           control == launcher::Control::idmapped_mounts ||
                           control == launcher::Control::private_network || control == launcher::Control::user_ids;
    if (isolation && kind == ExecutorKind::process) continue;
    const auto& state = hello.of(control);
    controls.push_back({.name = std::string(name), .state = state_of(state.support), .detail = state.reason});
  }
  if (kind == ExecutorKind::process) {
    controls.push_back({.name = "isolation",
                        .state = ControlState::missing,
                        .detail = "executor process has none: use executor container for code you do not trust"});
  }
  if (kind != ExecutorKind::process) {
    std::string names;
    for (const std::string& name : hello.runtimes) names += (names.empty() ? "" : ", ") + name;
    const bool any = !names.empty();
    controls.push_back({.name = "oci_runtimes",
                        .state = any ? ControlState::real : ControlState::missing,
                        .detail = any ? names : hello.no_runtimes});
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
  if (auto fields = check_fields(function); !fields) return fail(fields.error());
  if (auto isolation = check_isolation(function, host); !isolation) return fail(isolation.error());
  if (auto runtime = check_runtime(function, host); !runtime) return fail(runtime.error());

  std::vector<std::string> warnings;
  if (auto files = check_open_files(function, host, warnings); !files) return fail(files.error());
  if (auto network = check_network(function, host, warnings); !network) return fail(network.error());
  for (const Limit& limit : limits_of(function)) {
    if (!missing(host, limit.control)) continue;
    const std::string& reason = host.hello.of(limit.control).reason;
    if (limit.by_author) {
      return fail(Errc::failed_precondition, limit.text + " cannot be enforced on this host: " + reason +
                                                 "; see `millrace check` for what enables it, or remove the limit");
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

}  // namespace millrace::launched
