#include "app/node_options.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>

namespace millrace {
namespace {

using View = std::string_view;

constexpr std::size_t kNodeNameMax = 253;  // of a host
constexpr View kAllRoles = "gateway,producer,worker";
constexpr std::array<View, 3> kRoles{"gateway", "producer", "worker"};

View trimmed(View text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

}  // namespace

Result<void> set_roles(Config& config, View value) {
  std::array<bool, kRoles.size()> wanted{};
  for (View rest = value;;) {
    const auto comma = rest.find(',');
    const auto* const found = std::ranges::find(kRoles, trimmed(rest.substr(0, comma)));
    if (found == kRoles.end()) {
      return fail(Errc::invalid_argument,
                  "'" + std::string(trimmed(rest.substr(0, comma))) + "' is none of gateway, producer, worker");
    }
    wanted.at(static_cast<std::size_t>(found - kRoles.begin())) = true;
    if (comma == View::npos) break;
    rest = rest.substr(comma + 1);
  }
  config.roles.clear();
  for (std::size_t i = 0; i < kRoles.size(); ++i) {
    if (wanted.at(i)) config.roles.append(config.roles.empty() ? "" : ",").append(kRoles.at(i));
  }
  return {};
}

Result<void> set_node(Config& config, View value) {
  const bool good = value.size() <= kNodeNameMax && std::ranges::all_of(value, [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                             c == '-' || c == '_';
                    });
  if (!good) {
    return fail(Errc::invalid_argument, "'" + std::string(value) + "' is not a node's name: at most " +
                                            std::to_string(kNodeNameMax) + " of letters, digits, '.', '-' and '_'");
  }
  config.node = std::string(value);
  return {};
}

Result<void> set_bucket_directory(Config& config, View value) {
  if (!value.empty() && !value.starts_with('/')) {
    return fail(Errc::invalid_argument, "'" + std::string(value) + "' is not an absolute directory");
  }
  config.bucket_directory = std::string(value);
  return {};
}

Result<void> check_roles(const Config& config) {
  if (config.roles == kAllRoles || is_shareable(config)) return {};
  return fail(
      Errc::invalid_argument,
      "roles: a daemon that is only " + config.roles +
          " needs others, and the embedded broker and SQLite serve one daemon: say --broker nats://HOST:PORT and "
          "--state postgres://USER@HOST/DATABASE, the same for all of them");
}

bool has_role(const Config& config, std::string_view role) {
  return ("," + config.roles + ",").contains("," + std::string(role) + ",");
}

bool is_shareable(const Config& config) {
  return (config.broker.starts_with("nats://") || config.broker.starts_with("tls://")) && !config.state.empty();
}

}  // namespace millrace
