// Small texts for people: what came from elsewhere made harmless, ages, lists.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"
#include "formats/json.h"

namespace millrace::cli {

// Control characters as '?': what a server or a file's name says must not steer a terminal.
[[nodiscard]] std::string printable(std::string_view text);
[[nodiscard]] std::string printable_lines(std::string_view text);  // the same; line breaks stay

// A text member of an answer: a string, or {"base64": ...} where the bytes are no UTF-8. Empty when it is absent.
[[nodiscard]] std::string text_of(const Json& json, std::string_view key);

// "bucket/key" of an object, or empty for null.
[[nodiscard]] std::string object_name(const Json* object);

// Of a run that is on record and whose outputs are not all in place; empty for any other.
[[nodiscard]] std::string unplaced_text(const Json& run);

// "3 s ago" for a timestamp of an answer; empty for none.
[[nodiscard]] std::string age(std::string_view timestamp, std::chrono::system_clock::time_point now);

// "a, b and 4 more" with at most `shown` of them.
[[nodiscard]] std::string some_of(std::span<const std::string> items, std::size_t shown);

// "1 run", "3 runs".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view what);

// "bucket/key" taken apart at the first '/'; the key may be empty. invalid_argument when there is no bucket.
struct ObjectName {
  std::string bucket;
  std::string key;
};
[[nodiscard]] Result<ObjectName> parse_object_name(std::string_view text);

}  // namespace millrace::cli
