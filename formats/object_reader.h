// ObjectReader: takes the members of one JSON object as typed values and says all that is wrong with them.
//
//   Diagnostics problems;
//   ObjectReader in(json, "functions.millrace[0]", problems);
//   spec.name = in.text("name");                                  // required
//   spec.retries = in.integer("retries", 3U, {.max = 100});       // optional
//   in.refuse_unknown();
//   if (!problems.empty()) ...                                    // "line 4: functions.millrace[0].name: is missing"
//
// A member that is wrong counts as a problem and reads as its fallback, so reading always goes on to the end. A member
// that is null counts as absent. The JSON and the diagnostics outlive the reader.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "formats/diagnostics.h"
#include "formats/json.h"

namespace millrace {

// Inclusive bounds of a number, a size or a duration.
template <class Value>
struct ValueRange {
  Value min = std::numeric_limits<Value>::lowest();
  Value max = std::numeric_limits<Value>::max();
};
struct DurationRange {
  std::chrono::milliseconds min{0};
  std::chrono::milliseconds max{std::chrono::hours(24 * 3650)};
};

// Bytes that are mostly text: a string, or {"base64": "..."} where they are not valid UTF-8.
[[nodiscard]] Json raw_json(std::string_view bytes);

class ObjectReader {
 public:
  // `path` is what messages call the object; empty at the top of a document. What is no object is a problem and reads
  // as an empty one.
  ObjectReader(const Json& json, std::string path, Diagnostics& problems);

  // The member, or null when it is absent or null. Marks the key as known.
  [[nodiscard]] const Json* find(std::string_view key);

  // Texts. Without a fallback the member is required.
  [[nodiscard]] std::string text(std::string_view key);
  [[nodiscard]] std::string text(std::string_view key, std::string_view fallback);
  [[nodiscard]] std::vector<std::string> texts(std::string_view key, std::vector<std::string> fallback = {});
  // A map of texts; numbers and booleans become what they are written as, null becomes empty text.
  [[nodiscard]] std::map<std::string, std::string> text_map(std::string_view key);

  // Bytes that need not be text, as raw_json() writes them.
  [[nodiscard]] std::string raw(std::string_view key);

  template <std::integral Number>
  [[nodiscard]] Number integer(std::string_view key, Number fallback,
                               ValueRange<std::type_identity_t<Number>> range = {}) {
    if constexpr (std::is_signed_v<Number>) {
      return static_cast<Number>(signed_integer(key, fallback, {range.min, range.max}));
    } else {
      return static_cast<Number>(unsigned_integer(key, fallback, {range.min, range.max}));
    }
  }

  // true, false, and the words on, off, yes, no.
  [[nodiscard]] bool boolean(std::string_view key, bool fallback);

  // Quantities (core/units.h): a text, or a bare number for bytes and cores.
  [[nodiscard]] std::uint64_t bytes(std::string_view key, std::uint64_t fallback, ValueRange<std::uint64_t> range = {});
  [[nodiscard]] std::uint32_t millicores(std::string_view key, std::uint32_t fallback,
                                         ValueRange<std::uint32_t> range = {});
  [[nodiscard]] std::chrono::milliseconds duration(std::string_view key, std::chrono::milliseconds fallback,
                                                   DurationRange range = {});

  // The items of an array, or none.
  [[nodiscard]] const Json::Array& array(std::string_view key);

  // One of the names that `parse` knows; `expected` lists them for the message.
  template <class Value>
  [[nodiscard]] Value choice(std::string_view key, Value fallback, std::optional<Value> (*parse)(std::string_view),
                             std::string_view expected) {
    const Json* json = find(key);
    if (json == nullptr) return fallback;
    if (json->is_string()) {
      if (const auto value = parse(*json->string())) return *value;
    }
    problem(key, shown(*json) + " is not one of " + std::string(expected));
    return fallback;
  }

  // A problem of one member, with its line; of the object itself when `key` is empty.
  void problem(std::string_view key, std::string text);

  // Members nobody asked for are problems, each with the nearest name that was asked for. Last.
  void refuse_unknown();

  [[nodiscard]] std::string path_of(std::string_view key) const;
  [[nodiscard]] std::string path_of(std::string_view key, std::size_t index) const;
  [[nodiscard]] Diagnostics& problems() { return problems_; }
  [[nodiscard]] std::uint32_t line() const { return json_.line(); }

  // How a value is shown in a message: short texts in quotes, the rest by its kind.
  [[nodiscard]] static std::string shown(const Json& json);

 private:
  [[nodiscard]] std::int64_t signed_integer(std::string_view key, std::int64_t fallback,
                                            ValueRange<std::int64_t> range);
  [[nodiscard]] std::uint64_t unsigned_integer(std::string_view key, std::uint64_t fallback,
                                               ValueRange<std::uint64_t> range);
  [[nodiscard]] std::optional<std::string> quantity(std::string_view key, std::string_view expected);

  const Json& json_;
  std::string path_;
  Diagnostics& problems_;
  std::vector<std::string_view> known_;
};

}  // namespace millrace
