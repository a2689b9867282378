#include "formats/object_reader.h"

#include <algorithm>
#include <utility>

#include "core/units.h"
#include "formats/base64.h"
#include "formats/utf8.h"

namespace millrace {
namespace {

constexpr std::size_t kShownMax = 40;

// A value of a range as messages show it.
std::string text_of(std::int64_t value) {
  return std::to_string(value);
}
std::string text_of(std::uint64_t value) {
  return std::to_string(value);
}

template <class Number, class Range, class Parse>
Number read_integer(ObjectReader& in, std::string_view key, Number fallback, const Range& range, Parse parse) {
  const Json* json = in.find(key);
  if (json == nullptr) return fallback;
  const std::optional<Number> value = parse(*json);
  if (value && *value >= range.min && *value <= range.max) return *value;
  std::string found = ObjectReader::shown(*json);
  if (json->kind() == Json::Kind::integer) found = json->dump();
  in.problem(key, found + " is not a whole number from " + text_of(range.min) + " to " + text_of(range.max));
  return fallback;
}

// A scalar as text: what an author wrote without quotes for a text.
std::optional<std::string> scalar_text(const Json& json) {
  switch (json.kind()) {
    case Json::Kind::null: return "";
    case Json::Kind::string: return *json.string();
    case Json::Kind::boolean:
    case Json::Kind::integer:
    case Json::Kind::number: return json.dump();
    case Json::Kind::array:
    case Json::Kind::object: return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

Json raw_json(std::string_view bytes) {
  return is_utf8(bytes) ? Json(bytes) : Json::object({{"base64", base64_encode(bytes)}});
}

ObjectReader::ObjectReader(const Json& json, std::string path, Diagnostics& problems)
    : json_(json), path_(std::move(path)), problems_(problems) {
  if (!json.is_object()) problem("", "must be an object, is " + shown(json));
}

const Json* ObjectReader::find(std::string_view key) {
  if (std::ranges::find(known_, key) == known_.end()) known_.push_back(key);
  const Json* found = json_.find(key);
  return found == nullptr || found->is_null() ? nullptr : found;
}

std::string ObjectReader::text(std::string_view key) {
  if (find(key) == nullptr) problem(key, "is missing; a text is required");
  return text(key, "");
}

std::string ObjectReader::text(std::string_view key, std::string_view fallback) {
  const Json* json = find(key);
  if (json == nullptr) return std::string(fallback);
  if (json->is_string()) return *json->string();
  const bool is_scalar = !json->is_array() && !json->is_object();
  problem(key, "must be a text, is " + shown(*json) + (is_scalar ? "; put it in quotes if it is meant as text" : ""));
  return std::string(fallback);
}

std::vector<std::string> ObjectReader::texts(std::string_view key, std::vector<std::string> fallback) {
  if (find(key) == nullptr) return fallback;
  std::vector<std::string> all;
  const auto& items = array(key);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].is_string()) {
      all.push_back(*items[i].string());
    } else {
      problems_.add(items[i].line(), path_of(key, i), "must be a text, is " + shown(items[i]));
    }
  }
  return all;
}

std::map<std::string, std::string> ObjectReader::text_map(std::string_view key) {
  std::map<std::string, std::string> all;
  const Json* json = find(key);
  if (json == nullptr) return all;
  if (!json->is_object()) problem(key, "must be a map of names to texts, is " + shown(*json));
  for (const auto& [name, value, line] : json->members()) {
    if (auto value_text = scalar_text(value)) {
      all.emplace(name, std::move(*value_text));
    } else {
      problems_.add(line, path_of(key) + "." + name, "must be a text, is " + shown(value));
    }
  }
  return all;
}

std::string ObjectReader::raw(std::string_view key) {
  const Json* json = find(key);
  if (json == nullptr || json->is_string()) return json == nullptr ? "" : *json->string();
  const Json* encoded = json->find("base64");
  if (encoded == nullptr || !encoded->is_string()) {
    problem(key, R"(must be a text or {"base64": text}, is )" + shown(*json));
    return "";
  }
  auto bytes = base64_decode(*encoded->string());
  if (!bytes) problem(key, bytes.error().message);
  return bytes ? std::move(*bytes) : "";
}

bool ObjectReader::boolean(std::string_view key, bool fallback) {
  const Json* json = find(key);
  if (json == nullptr) return fallback;
  if (const auto value = json->boolean()) return *value;
  if (const auto* word = json->string()) {
    if (*word == "on" || *word == "yes") return true;
    if (*word == "off" || *word == "no") return false;
  }
  problem(key, "must be true or false, is " + shown(*json));
  return fallback;
}

std::int64_t ObjectReader::signed_integer(std::string_view key, std::int64_t fallback, ValueRange<std::int64_t> range) {
  return read_integer(*this, key, fallback, range, [](const Json& json) { return json.int64(); });
}

std::uint64_t ObjectReader::unsigned_integer(std::string_view key, std::uint64_t fallback,
                                             ValueRange<std::uint64_t> range) {
  return read_integer(*this, key, fallback, range, [](const Json& json) { return json.uint64(); });
}

std::optional<std::string> ObjectReader::quantity(std::string_view key, std::string_view expected) {
  const Json* json = find(key);
  if (json == nullptr) return std::nullopt;
  const bool is_number = json->kind() == Json::Kind::integer || json->kind() == Json::Kind::number;
  if (is_number || json->is_string()) return scalar_text(*json);
  problem(key, "must be " + std::string(expected) + ", is " + shown(*json));
  return std::nullopt;
}

std::uint64_t ObjectReader::bytes(std::string_view key, std::uint64_t fallback, ValueRange<std::uint64_t> range) {
  const auto written = quantity(key, "a size such as 512Mi");
  if (!written) return fallback;
  const auto value = parse_bytes(*written);
  if (!value) {
    problem(key, value.error().message);
  } else if (*value < range.min || *value > range.max) {
    problem(key, "'" + *written + "' is out of bounds; expected " + format_bytes(range.min) + " to " +
                     format_bytes(range.max));
  } else {
    return *value;
  }
  return fallback;
}

std::uint32_t ObjectReader::millicores(std::string_view key, std::uint32_t fallback, ValueRange<std::uint32_t> range) {
  const auto written = quantity(key, "an amount of cpu such as 0.5 or 500m");
  if (!written) return fallback;
  const auto value = parse_millicores(*written);
  if (!value) {
    problem(key, value.error().message);
  } else if (*value < range.min || *value > range.max) {
    problem(key, "'" + *written + "' is out of bounds; expected " + format_millicores(range.min) + " to " +
                     format_millicores(range.max));
  } else {
    return *value;
  }
  return fallback;
}

std::chrono::milliseconds ObjectReader::duration(std::string_view key, std::chrono::milliseconds fallback,
                                                 DurationRange range) {
  const auto written = quantity(key, "a duration such as 30s");
  if (!written) return fallback;
  const auto value = parse_duration(*written);
  if (!value) {
    problem(key, value.error().message);
  } else if (*value < range.min || *value > range.max) {
    problem(key, "'" + *written + "' is out of bounds; expected " + format_duration(range.min) + " to " +
                     format_duration(range.max));
  } else {
    return *value;
  }
  return fallback;
}

const Json::Array& ObjectReader::array(std::string_view key) {
  const Json* json = find(key);
  if (json != nullptr && !json->is_array()) problem(key, "must be an array, is " + shown(*json));
  static const Json kNone;
  return json == nullptr ? kNone.items() : json->items();
}

void ObjectReader::problem(std::string_view key, std::string text) {
  const Json* json = key.empty() ? nullptr : json_.find(key);
  problems_.add(json == nullptr ? json_.line() : json->line(), key.empty() ? path_ : path_of(key), std::move(text));
}

void ObjectReader::refuse_unknown() {
  for (const auto& [key, value, line] : json_.members()) {
    if (std::ranges::find(known_, key) != known_.end()) continue;
    std::string text = "unknown field";
    if (const auto nearest = nearest_name(key, known_)) text += "; did you mean '" + std::string(*nearest) + "'?";
    problems_.add(line, path_of(key.substr(0, kShownMax)), std::move(text));
  }
}

std::string ObjectReader::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

std::string ObjectReader::path_of(std::string_view key, std::size_t index) const {
  return path_of(key) + "[" + std::to_string(index) + "]";
}

std::string ObjectReader::shown(const Json& json) {
  if (const auto* text = json.string(); text != nullptr && text->size() <= kShownMax) return "'" + *text + "'";
  const bool is_scalar = json.kind() == Json::Kind::boolean || json.kind() == Json::Kind::integer;
  return is_scalar ? json.dump() : std::string(name_of(json.kind()));
}

}  // namespace millrace
