#include "core/function_spec.h"

namespace millrace {

std::string_view name_of(ExecutorKind kind) {
  return kind == ExecutorKind::container ? "container" : "process";
}
std::string_view name_of(NetworkKind kind) {
  return kind == NetworkKind::none ? "none" : "host";
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

}  // namespace millrace
