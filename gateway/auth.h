// Who may ask: everybody who shows the daemon's token, as `Authorization: Bearer <token>` or `Basic` with user `oscar`.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace {

// `unauthenticated` unless the header proves knowledge of the token, which an empty one never does. Takes the same time
// whatever is wrong.
[[nodiscard]] Result<void> check_authorization(std::string_view header, std::string_view token);

// Reads `<data>/admin-token`, or makes it with 64 random hex digits and mode 0600 at the first start.
// `failed_precondition` for a file of more than 512 bytes or with a token of less than 16.
[[nodiscard]] Result<std::string> load_or_make_token(const std::string& path);

}  // namespace millrace
