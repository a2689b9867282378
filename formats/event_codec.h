// Events between our own parts: headers and opaque bytes, CloudEvents' binary mode. Nothing here parses JSON.
//
// Header names are `ce-<attribute>` in lower case (any case is understood), and `content-type`; ours are extensions
// that start with "millrace". Values are raw UTF-8; a transport that cannot carry that encodes on its own.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/event.h"

namespace millrace {

using Headers = std::vector<std::pair<std::string, std::string>>;

// Every attribute that is set, in a fixed order. from_headers(to_headers(e), e.data) is e. An extension that has the
// name of an attribute is left out: it would speak for us.
[[nodiscard]] Headers to_headers(const Event& event);

// `invalid_argument` naming the header that is missing, wrong or there twice, `too_large` naming the bound. Unknown
// `ce-` headers become extensions, others are ignored. Required are ce-specversion, ce-id, ce-source and ce-type;
// whether they say anything is for those to check who take events from outside.
[[nodiscard]] Result<Event> from_headers(const Headers& headers, std::string data);

// Headers and data as one block of bytes, for backends that store bytes: a count, then length-prefixed fields, little
// endian. The decoder takes any bytes and says what is wrong.
[[nodiscard]] std::string encode_event(const Event& event);
void append_event(std::string& out, const Event& event);  // the same behind what is in `out`
[[nodiscard]] Result<Event> decode_event(std::string_view bytes);

// Whether an event can be published: data within kEventBytesMax, header names and values within kEventHeaderBytesMax,
// at most 128 extensions. `too_large` otherwise; from_headers and decode_event hold everybody to the same.
[[nodiscard]] Result<void> check_event_size(const Event& event);

// True if a publisher may use this name for an attribute of its own: 1 to 40 of [a-z0-9], no CloudEvents attribute and
// not ours.
[[nodiscard]] bool is_extension_name(std::string_view name);

}  // namespace millrace
