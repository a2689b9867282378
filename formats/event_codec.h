// Events between our own parts: headers and opaque bytes, CloudEvents' binary mode. Nothing here parses JSON.
//
// Header names are `ce-<attribute>` in lower case; ours are extensions that start with "millrace". Values are raw UTF-8;
// a transport that cannot carry that encodes on its own.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/event.h"

namespace millrace {

using Headers = std::vector<std::pair<std::string, std::string>>;

// Every attribute that is set, in a fixed order. from_headers(to_headers(e), e.data) is e.
[[nodiscard]] Headers to_headers(const Event& event);

// `invalid_argument` naming the header that is missing or wrong. Unknown `ce-` headers become extensions, others are
// ignored.
[[nodiscard]] Result<Event> from_headers(const Headers& headers, std::string data);

// Headers and data as one block of bytes, for backends that store bytes: a count, then length-prefixed fields, little
// endian. The decoder takes any bytes and says what is wrong.
[[nodiscard]] std::string encode_event(const Event& event);
[[nodiscard]] Result<Event> decode_event(std::string_view bytes);

}  // namespace millrace
