#include "app/listen_address.h"

#include <charconv>

namespace millrace {
namespace {

bool is_loopback(std::string_view host) {
  return host.starts_with("127.") || host == "::1" || host == "localhost";
}

}  // namespace

Result<ListenAddress> parse_listen(std::string_view text, bool insecure) {
  const auto colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  ListenAddress address{.host = std::string(host), .port = 0};
  const std::string_view port = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (port.empty() || error != std::errc{} || end != port.data() + port.size() || host.empty()) {
    return fail(Errc::invalid_argument,
                "listen: '" + std::string(text) + "' is not HOST:PORT, for example 127.0.0.1:8090");
  }
  if (address.host == "localhost") address.host = "127.0.0.1";
  if (!is_loopback(address.host) && !insecure) {
    return fail(Errc::invalid_argument,
                "listen: " + std::string(text) +
                    " is reachable from the network and there is no TLS: the token would cross it readable; put a TLS "
                    "proxy in front of a loopback address, or say --insecure-listen yes");
  }
  return address;
}

}  // namespace millrace
