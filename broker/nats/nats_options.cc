#include "broker/nats/nats_options.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace millrace {
namespace {

// Host and port of one server of the list, and what stands before their '@'.
struct Server {
  std::string_view login;
  std::string_view address;
};

Server server_of(std::string_view text) {
  if (const auto scheme = text.find("://"); scheme != std::string_view::npos) text.remove_prefix(scheme + 3);
  const auto at = text.rfind('@');
  if (at == std::string_view::npos) return {.login = {}, .address = text};
  return {.login = text.substr(0, at), .address = text.substr(at + 1)};
}

std::string_view next_of(std::string_view& list) {
  const auto comma = list.find(',');
  const auto first = list.substr(0, comma);
  list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  return first;
}

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 && text.find_first_not_of("0123456789") == std::string_view::npos &&
         std::stoi(std::string(text)) >= 1 && std::stoi(std::string(text)) <= 65535;
}

}  // namespace

Result<void> check_nats_url(const std::string& url) {
  if (!url.starts_with("nats://") && !url.starts_with("tls://")) {
    return fail(Errc::invalid_argument, "the URL of a NATS broker starts with nats:// or tls://");
  }
  std::string_view list = url;
  if (list.ends_with(',')) return fail(Errc::invalid_argument, "the list of NATS servers ends with a comma");
  do {
    const auto [login, address] = server_of(next_of(list));
    const auto colon = address.rfind(':');
    const bool bracketed = address.ends_with(']');
    const auto host = colon == std::string_view::npos || bracketed ? address : address.substr(0, colon);
    const bool good_port = colon == std::string_view::npos || bracketed || is_port(address.substr(colon + 1));
    const bool good_host =
        !host.empty() && std::ranges::all_of(host, [](char c) { return c > ' ' && c < 127 && c != '/' && c != '?'; });
    if (!good_host || !good_port) {
      return fail(Errc::invalid_argument, "'" + std::string(address.substr(0, 100)) +
                                              "' is no NATS server; expected nats://HOST:PORT[,HOST:PORT...]");
    }
  } while (!list.empty());
  return {};
}

std::vector<std::string> nats_servers(const std::string& url) {
  const std::string scheme = url.substr(0, url.find("://") + 3);
  std::vector<std::string> servers;
  for (std::string_view list = url; !list.empty();) {
    const auto each = next_of(list);
    servers.push_back((each.find("://") == std::string_view::npos ? scheme : "") + std::string(each));
  }
  return servers;
}

std::string shown_nats_url(const std::string& url) {
  const auto scheme = url.find("://");
  std::string shown = scheme == std::string::npos ? std::string() : url.substr(0, scheme + 3);
  std::string_view list = url;
  bool first = true;
  while (!list.empty()) {
    if (!std::exchange(first, false)) shown += ',';
    shown += server_of(next_of(list)).address;
  }
  return shown;
}

}  // namespace millrace
