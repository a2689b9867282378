#include "core/function_spec.h"

namespace millrace {

std::string_view name_of(ExecutorKind kind) {
  switch (kind) {
    case ExecutorKind::container: return "container";
    case ExecutorKind::process: return "process";
    case ExecutorKind::oci: return "oci";
  }
  return "container";
}
std::string_view name_of(NetworkKind kind) {
  switch (kind) {
    case NetworkKind::none: return "none";
    case NetworkKind::host: return "host";
    case NetworkKind::outbound: return "private";
  }
  return "none";
}

std::string_view name_of(LogPolicy policy) {
  return policy == LogPolicy::truncate ? "truncate" : "backpressure";
}
std::optional<LogPolicy> log_policy_from_name(std::string_view name) {
  for (const auto policy : {LogPolicy::truncate, LogPolicy::backpressure}) {
    if (name == name_of(policy)) return policy;
  }
  return std::nullopt;
}
std::string_view name_of(RootKind kind) {
  return kind == RootKind::read_only ? "read_only" : "copy_on_write";
}
std::string_view name_of(ProfileKind kind) {
  return kind == ProfileKind::strict ? "strict" : "compat";
}

std::optional<ExecutorKind> executor_from_name(std::string_view name) {
  for (const auto kind : {ExecutorKind::container, ExecutorKind::process, ExecutorKind::oci}) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

bool is_oci_runtime_name(std::string_view name) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789-_";
  return !name.empty() && name.size() <= 32 && name.find_first_not_of(kAllowed) == std::string_view::npos;
}

std::optional<NetworkKind> network_from_name(std::string_view name) {
  for (const auto kind : {NetworkKind::none, NetworkKind::host, NetworkKind::outbound}) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

std::optional<RootKind> root_from_name(std::string_view name) {
  for (const auto kind : {RootKind::read_only, RootKind::copy_on_write}) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

std::optional<ProfileKind> profile_from_name(std::string_view name) {
  for (const auto kind : {ProfileKind::strict, ProfileKind::compat}) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

}  // namespace millrace
