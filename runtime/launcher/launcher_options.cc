#include "runtime/launcher/launcher_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string_view>

#include "runtime/launcher/protocol.h"

namespace millrace::launcher {
namespace {

constexpr std::size_t kPrefixBytesMax = 64;
constexpr std::size_t kPathsMax = 64;
constexpr std::size_t kRuntimeArgumentsMax = 16;

bool is_prefix(std::string_view text) {
  return !text.empty() && text.size() <= kPrefixBytesMax && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

// An id that the kernel accepts; the largest number means "no id" to it.
bool parse_id(std::string_view text, std::uint32_t& id) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  return error == std::errc{} && end == text.data() + text.size() && id != std::numeric_limits<std::uint32_t>::max();
}

// Absolute, without "." and ".." and empty components, and not the root itself.
bool is_plain_path(std::string_view path) {
  if (path.size() < 2 || path.front() != '/') return false;
  for (std::size_t at = 0; at < path.size();) {
    const auto end = std::min(path.find('/', at + 1), path.size());
    const auto component = path.substr(at + 1, end - at - 1);
    if (component.empty() || component == "." || component == "..") return false;
    at = end;
  }
  return true;
}

// "NAME=PROGRAM ARGUMENT..."
bool parse_runtime(std::string_view text, std::vector<OciRuntime>& into) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals > kRuntimeNameBytesMax || into.size() >= kRuntimesMax) return false;
  OciRuntime runtime{.name = std::string(text.substr(0, equals)), .command = {}};
  text.remove_prefix(equals + 1);
  while (!text.empty()) {
    const auto blank = std::min(text.find(' '), text.size());
    if (blank > 0) runtime.command.emplace_back(text.substr(0, blank));
    text.remove_prefix(std::min(blank + 1, text.size()));
  }
  const bool good = is_prefix(runtime.name) && !runtime.command.empty() && is_plain_path(runtime.command.front()) &&
                    runtime.command.size() <= kRuntimeArgumentsMax;
  into.push_back(std::move(runtime));
  return good;
}

// What a container mounts itself would cover it.
bool is_own_of_containers(std::string_view path) {
  return std::ranges::any_of(std::to_array<std::string_view>({"/tmp", "/dev", "/proc", "/run"}),
                             [path](std::string_view own) {
                               return path.starts_with(own) && (path.size() == own.size() || path[own.size()] == '/');
                             });
}

}  // namespace

Result<LauncherOptions> parse_launcher_options(std::span<const char* const> arguments) {
  LauncherOptions options;
  bool has_uid = false;
  bool has_gid = false;
  for (const std::string_view argument : arguments) {
    const auto equals = argument.find('=');
    const auto name = argument.substr(0, equals);
    const auto value = equals == std::string_view::npos ? std::string_view{} : argument.substr(equals + 1);
    bool good = false;
    if (name == "--prefix") {
      good = is_prefix(value);
      options.prefix = value;
    } else if (name == "--daemon-uid") {
      good = has_uid = parse_id(value, options.daemon_uid);
    } else if (name == "--daemon-gid") {
      good = has_gid = parse_id(value, options.daemon_gid);
    } else if (name == "--show" || name == "--hide") {
      auto& paths = name == "--show" ? options.show : options.hide;
      good = is_plain_path(value) && paths.size() < kPathsMax && !(name == "--show" && is_own_of_containers(value));
      paths.emplace_back(value);
    } else if (name == "--network-allow" || name == "--network-deny") {
      auto& ranges = name == "--network-allow" ? options.network_allow : options.network_deny;
      const auto range = parse_ipv4_range(value);
      good = range.has_value() && ranges.size() < kPathsMax;
      if (good) ranges.push_back(*range);
    } else if (name == "--images") {
      good = is_plain_path(value) && options.images.size() < kPathsMax;
      options.images.emplace_back(value);
    } else if (name == "--runtime") {
      good = parse_runtime(value, options.runtimes);
    }
    if (!good) return fail(Errc::invalid_argument, "launcher: unknown or malformed argument " + std::string(argument));
  }
  if (options.prefix.empty() || !has_uid || !has_gid) {
    return fail(Errc::invalid_argument, "launcher: --prefix, --daemon-uid and --daemon-gid are required");
  }
  return options;
}

}  // namespace millrace::launcher
