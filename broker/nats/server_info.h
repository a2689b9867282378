// What a NATS server says of itself to whoever connects, before any login. The client library reads it, too, and does
// not tell. Thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace::nats {

struct ServerInfo {
  std::string version{};
  std::string cluster{};  // its name; empty: the server stands alone
};

// Blocks, for some two seconds at most. Nothing when it did not say: one that wants TLS before anything else is 2.10.4
// or newer.
[[nodiscard]] std::optional<ServerInfo> ask_server(const std::string& url);

// Of its first line: `INFO {...}`.
[[nodiscard]] std::optional<ServerInfo> parse_server_info(std::string_view line);

// failed_precondition for a version of which we know that it lacks what we need.
[[nodiscard]] Result<void> check_version(const ServerInfo& server, const std::string& url);

}  // namespace millrace::nats
