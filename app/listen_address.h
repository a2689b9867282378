// HOST:PORT of the API, and the rule about listening beyond this machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace {

struct ListenAddress {
  std::string host;  // without the brackets of IPv6
  std::uint16_t port = 0;
};

// "127.0.0.1:8090", "[::1]:8090", "0.0.0.0:8090". Without TLS the token would cross the network readable, so addresses
// beyond loopback are refused unless `insecure` says that this is meant.
[[nodiscard]] Result<ListenAddress> parse_listen(std::string_view text, bool insecure);

}  // namespace millrace
