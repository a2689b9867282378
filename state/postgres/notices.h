// What the nodes tell one another through the server: the channel, and notices as its payloads.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "state/shared_state.h"

namespace millrace::postgres {

inline constexpr const char* kChannel = "millrace";
inline constexpr std::string_view kFunctionsNotice = "functions";

[[nodiscard]] inline std::string quoted(std::string_view plain) {
  return "'" + std::string(plain) + "'";
}

// SQL that tells `payload`, itself SQL, when the transaction is committed.
[[nodiscard]] inline std::string notify(const std::string& payload) {
  return "pg_notify('" + std::string(kChannel) + "', " + payload + ")";
}

[[nodiscard]] std::string encode(const Notice& notice);
[[nodiscard]] std::optional<Notice> decode_notice(std::string_view payload);  // nothing: of a newer build

}  // namespace millrace::postgres
