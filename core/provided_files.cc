#include "core/provided_files.h"

#include <algorithm>
#include <array>

namespace millrace {
namespace {

constexpr std::size_t kComponentBytesMax = 255;
constexpr std::array<std::string_view, 6> kTaken{"/tmp", "/dev", "/proc", "/sys", "/run/secrets", "/oscar"};

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool lies_below(std::string_view path, std::string_view directory) {
  return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

}  // namespace

bool is_secret_name(std::string_view name) {
  return !name.empty() && name.size() <= kSecretNameBytesMax && name.front() != '.' &&
         std::ranges::all_of(name, is_name_character);
}

std::string_view why_no_file_path(std::string_view path) {
  if (path.size() < 2 || path.front() != '/') return "is not an absolute path";
  if (path.size() > kFilePathBytesMax) return "is too long a path";
  if (path.find('\0') != std::string_view::npos) return "contains a NUL byte";
  std::size_t depth = 0;
  for (std::size_t at = 0; at < path.size(); ++depth) {
    const auto end = std::min(path.find('/', at + 1), path.size());
    const auto component = path.substr(at + 1, end - at - 1);
    if (component.empty() || component == "." || component == "..") {
      return "has an empty part, '.' or '..'; write the plain path";
    }
    if (component.size() > kComponentBytesMax) return "has a part that is too long for a name";
    at = end;
  }
  if (depth > kFilePathDepthMax) return "lies too deep";
  for (const std::string_view taken : kTaken) {
    if (lies_below(path, taken))
      return "lies where every run has a place of its own (/tmp, /dev, /proc, /sys, /run/secrets, /oscar)";
  }
  return {};
}

}  // namespace millrace
