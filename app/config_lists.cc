#include "app/config_lists.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "runtime/launcher/route_socket.h"
#include "storage/object_store.h"

namespace millrace {
namespace {

using View = std::string_view;

constexpr std::size_t kImageDirectoriesMax = 32;
constexpr std::size_t kNetworkRangesMax = 32;
constexpr std::size_t kOciRuntimesMax = 8;

View trimmed(View text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// What private networks may and may not reach, as the launcher takes it.
Result<void> set_ranges(std::vector<std::string>& ranges, View value) {
  ranges.clear();
  for (const View range : list_entries(value)) {
    if (!launcher::parse_ipv4_range(range)) {
      return fail(Errc::invalid_argument, "'" + std::string(range) +
                                              "' is neither an IPv4 address nor a range like 10.0.0.0/8, without bits "
                                              "set beyond its prefix");
    }
    if (ranges.size() >= kNetworkRangesMax) {
      return fail(Errc::invalid_argument, "more than " + std::to_string(kNetworkRangesMax) + " ranges");
    }
    ranges.emplace_back(range);
  }
  return {};
}

}  // namespace

std::vector<View> list_entries(View list) {
  std::vector<View> entries;
  while (!list.empty()) {
    const auto comma = list.find(',');
    entries.push_back(trimmed(list.substr(0, comma)));
    list = comma == View::npos ? View() : list.substr(comma + 1);
  }
  return entries;
}

bool is_plain_path(View path) {
  const std::string slashed = std::string(path) + "/";
  return path.size() > 1 && path.front() == '/' && path.back() != '/' && slashed.find("//") == View::npos &&
         slashed.find("/./") == View::npos && slashed.find("/../") == View::npos;
}

Result<void> set_image_directories(Config& config, View value) {
  config.image_directories.clear();
  for (const View directory : list_entries(value)) {
    if (!is_plain_path(directory) || config.image_directories.size() >= kImageDirectoriesMax) {
      return fail(Errc::invalid_argument, "'" + std::string(directory) +
                                              "' is not the plain absolute path of a directory, or the " +
                                              std::to_string(kImageDirectoriesMax) + " that may be listed are there");
    }
    config.image_directories.emplace_back(directory);
  }
  return {};
}

Result<void> set_network_allow(Config& config, View value) {
  return set_ranges(config.network_allow, value);
}

Result<void> set_network_deny(Config& config, View value) {
  return set_ranges(config.network_deny, value);
}

Result<void> set_oci_runtimes(Config& config, View value) {
  config.oci_runtimes.clear();
  for (const View runtime : list_entries(value)) {
    const auto equals = runtime.find('=');
    const View name = runtime.substr(0, equals);
    const View program = equals == View::npos ? View() : runtime.substr(equals + 1);
    const bool named = !name.empty() && std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    });
    if (!named || !program.starts_with('/')) {
      return fail(Errc::invalid_argument, "'" + std::string(runtime) + "' is not NAME=/ABSOLUTE/PROGRAM ARGUMENT...");
    }
    const std::string start = std::string(name) + "=";
    const bool known =
        std::ranges::any_of(config.oci_runtimes, [&](const std::string& other) { return other.starts_with(start); });
    if (known) return fail(Errc::invalid_argument, "runtime '" + std::string(name) + "' is given twice");
    if (config.oci_runtimes.size() >= kOciRuntimesMax) {
      return fail(Errc::invalid_argument, "more than " + std::to_string(kOciRuntimesMax) + " runtimes");
    }
    config.oci_runtimes.emplace_back(runtime);
  }
  return {};
}

Result<void> set_buckets(Config& config, View value) {
  config.buckets.clear();
  for (const View pair : list_entries(value)) {
    const auto equals = pair.find('=');
    const View directory = equals == View::npos ? View() : pair.substr(equals + 1);
    if (!directory.starts_with('/')) {
      return fail(Errc::invalid_argument, "'" + std::string(pair) + "' is not BUCKET=/ABSOLUTE/DIRECTORY");
    }
    const std::string name(pair.substr(0, equals));
    if (const auto good = check_bucket_name(name); !good) return good;
    if (!config.buckets.emplace(name, directory).second) {
      return fail(Errc::invalid_argument, "bucket '" + name + "' is given twice");
    }
  }
  return {};
}

}  // namespace millrace
