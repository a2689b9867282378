#include "runtime/launched/script.h"

namespace millrace::launched {

std::optional<std::string> interpreter_of(std::string_view script) {
  if (!script.starts_with("#!")) return std::nullopt;
  std::string_view line = script.substr(2, script.find('\n') - 2);
  const auto first = line.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::string();
  line.remove_prefix(first);
  return std::string(line.substr(0, line.find_first_of(" \t")));
}

std::vector<std::string> argv_of(std::string_view script, const std::string& path) {
  if (script.starts_with("#!")) return {path};
  return {"/bin/sh", path};
}

}  // namespace millrace::launched
