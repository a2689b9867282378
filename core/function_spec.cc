#include "core/function_spec.h"

namespace millrace {

std::string_view name_of(ExecutorKind kind) {
  return kind == ExecutorKind::container ? "container" : "process";
}
std::string_view name_of(NetworkKind kind) {
  return kind == NetworkKind::none ? "none" : "host";
}

std::string_view name_of(RootKind kind) {
  return kind == RootKind::read_only ? "read_only" : "copy_on_write";
}
std::string_view name_of(ProfileKind kind) {
  return kind == ProfileKind::strict ? "strict" : "compat";
}

std::optional<ExecutorKind> executor_from_name(std::string_view name) {
  for (const auto kind : {ExecutorKind::container, ExecutorKind::process}) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

std::optional<NetworkKind> network_from_name(std::string_view name) {
  for (const auto kind : {NetworkKind::none, NetworkKind::host}) {
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
