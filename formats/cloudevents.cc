#include "formats/cloudevents.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>

#include "formats/base64.h"
#include "formats/json_text.h"
#include "formats/media_type.h"
#include "formats/timestamp.h"
#include "formats/utf8.h"

namespace millrace {
namespace {

constexpr std::string_view kJsonType = "application/json";
constexpr std::string_view kPrefix = "ce-";
constexpr std::string_view kOurs = "millrace";
constexpr std::string_view kContentType = "datacontenttype";

std::string quoted(std::string_view name) {
  return "attribute '" + std::string(name.substr(0, 64)) + "'";
}

std::unexpected<Error> bad(std::string_view attribute, std::string_view problem) {
  return fail(Errc::invalid_argument, quoted(attribute) + " " + std::string(problem));
}

// Of any attribute: no control characters, and UTF-8.
Result<void> check_value(std::string_view name, std::string_view value) {
  const bool has_control =
      std::ranges::any_of(value, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (has_control) return bad(name, "holds a control character");
  if (!is_utf8(value)) return bad(name, "is no valid UTF-8");
  return {};
}

Result<void> take_time(std::string_view value, Event& event) {
  const auto time = parse_timestamp(value);
  if (!time) return fail(time.error().with(quoted("time")));
  event.time = *time;
  return {};
}

// With CloudEvents' own of which we make no use.
bool can_be_extension(std::string_view name) {
  return name == "dataschema" || is_extension_name(name);
}

Result<void> add_extension(std::string_view name, std::string value, Event& event) {
  if (name.starts_with(kOurs)) return bad(name, "is ours: nobody else may set it");
  if (!can_be_extension(name)) {
    return bad(name, "cannot be: a name is 1 to 40 of a-z and 0-9");
  }
  event.extensions.emplace_back(name, std::move(value));
  return {};
}

// The attributes that both modes call the same; false: it is none of them.
Result<bool> take_attribute(std::string_view name, std::string& value, Event& event) {
  if (name == "specversion") {
    if (value != "1.0") return bad(name, "must be 1.0, the only version there is");
  } else if (name == "id") {
    event.source_id = std::move(value);
  } else if (name == "source") {
    event.source = std::move(value);
  } else if (name == "type") {
    event.type = std::move(value);
  } else if (name == "subject") {
    event.subject = std::move(value);
  } else if (name == "time") {
    if (auto taken = take_time(value, event); !taken) return fail(taken.error());
  } else {
    return false;
  }
  return true;
}

// An attribute of the JSON format as the text it stands for.
Result<std::string> text_of(std::string_view name, const Json& value) {
  if (const std::string* text = value.string()) return *text;
  if (const auto flag = value.boolean()) return std::string(*flag ? "true" : "false");
  const auto number = value.int64();
  constexpr std::int64_t kMin = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  if (value.kind() == Json::Kind::integer && number && *number >= kMin && *number <= kMax) {
    return std::to_string(*number);
  }
  return bad(name,
             "must be a text, true, false or a whole number of 32 bits, is " + std::string(name_of(value.kind())));
}

Result<void> take_data(const Json* data, const Json* base64, Event& event) {
  if (data != nullptr && base64 != nullptr) return bad("data_base64", "is there beside data");
  if (base64 != nullptr) {
    if (!base64->is_string()) return bad("data_base64", "must be a text");
    auto bytes = base64_decode(*base64->string());
    if (!bytes) return bad("data_base64", "is no base64");
    event.data = std::move(*bytes);
    return {};
  }
  if (data == nullptr) return {};
  if (event.content_type.empty()) event.content_type = kJsonType;
  event.data = data->is_string() && !is_json_type(event.content_type) ? *data->string() : data->dump();
  return {};
}

constexpr std::array<std::string_view, 5> kTexts{"specversion", "id", "source", "type", kContentType};

// `ours`: where what we say of our own affairs is put, as headers; null: it is refused.
Result<void> take_members(const Json& json, Event& event, bool& has_version, Headers* ours) {
  for (const auto& member : json.members()) {
    if (member.key == "data" || member.key == "data_base64" || member.value.is_null()) continue;
    const bool must_be_text = std::ranges::find(kTexts, member.key) != kTexts.end();
    if (must_be_text && !member.value.is_string()) return bad(member.key, "must be a text");
    auto value = text_of(member.key, member.value);
    if (!value) return fail(value.error());
    if (member.key == kContentType) {
      event.content_type = std::move(*value);
      continue;
    }
    if (ours != nullptr && member.key.starts_with(kOurs)) {
      ours->emplace_back(std::string(kPrefix) + member.key, std::move(*value));
      continue;
    }
    has_version = has_version || member.key == "specversion";
    const auto taken = take_attribute(member.key, *value, event);
    if (!taken) return fail(taken.error());
    if (*taken) continue;
    if (auto added = add_extension(member.key, std::move(*value), event); !added) return added;
  }
  return {};
}

const Json* present(const Json& json, std::string_view key) {
  const Json* found = json.find(key);
  return found == nullptr || found->is_null() ? nullptr : found;
}

Result<Event> read_event(const Json& json, Headers* ours) {
  if (!json.is_object()) {
    return fail(Errc::invalid_argument, "a CloudEvent must be an object, is " + std::string(name_of(json.kind())));
  }
  Event event;
  bool has_version = false;
  if (auto taken = take_members(json, event, has_version, ours); !taken) return fail(taken.error());
  if (!has_version) return bad("specversion", "is missing");
  if (auto taken = take_data(present(json, "data"), present(json, "data_base64"), event); !taken) {
    return fail(taken.error());
  }
  if (auto ok = check_attributes(event); !ok) return fail(ok.error());
  return event;
}

// JSON as it stands, text as a text, anything else, and what would not come back as it was, in base 64.
std::string data_member(const Event& event) {
  if (event.data.empty()) return {};
  if (is_json_type(event.content_type)) {
    // In an array, since the document is a level around it.
    const auto parsed = parse_json("[" + event.data + "]", kStructuredBytesMax);
    if (parsed && parsed->items().size() == 1 && !parsed->items().front().is_null()) return ",\"data\":" + event.data;
  }
  if (!event.content_type.empty() && !is_json_type(event.content_type) && is_utf8(event.data)) {
    std::string member = ",\"data\":";
    append_json_string(member, event.data);
    return member;
  }
  return ",\"data_base64\":\"" + base64_encode(event.data) + "\"";
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

}  // namespace

Result<void> check_attributes(const Event& event) {
  using Named = std::pair<std::string_view, std::string_view>;
  for (const auto& [name, value] :
       {Named{"id", event.source_id}, Named{"source", event.source}, Named{"type", event.type}}) {
    if (value.empty()) return bad(name, "is missing or empty");
  }
  for (const auto& [name, value] :
       {Named{"id", event.source_id}, Named{"source", event.source}, Named{"type", event.type},
        Named{"subject", event.subject}, Named{"datacontenttype", event.content_type}}) {
    if (auto ok = check_value(name, value); !ok) return ok;
  }
  for (const auto& [name, value] : event.extensions) {
    if (auto ok = check_value(name, value); !ok) return ok;
  }
  return check_event_size(event);
}

Result<Event> event_from_structured(std::string_view text) {
  const auto json = parse_json(text, kStructuredBytesMax);
  if (!json) return fail(json.error());
  return event_from_json(*json);
}

Result<Event> event_from_json(const Json& json) {
  return read_event(json, nullptr);
}

std::optional<std::string> to_structured(const Event& event) {
  const bool odd =
      std::ranges::any_of(event.extensions, [](const auto& each) { return !can_be_extension(each.first); });
  if (odd || !check_attributes(event)) return std::nullopt;
  Json json = Json::object();
  for (const auto& [name, value] : to_headers(event)) {
    if (!is_utf8(value)) return std::nullopt;
    json.set(name.starts_with(kPrefix) ? std::string_view(name).substr(kPrefix.size()) : kContentType, value);
  }
  std::string document = json.dump();
  document.pop_back();
  return document + data_member(event) + "}";
}

Result<Event> own_event_from_structured(std::string_view text) {
  const auto json = parse_json(text, kStructuredBytesMax);
  if (!json) return fail(json.error());
  Headers ours;
  auto event = read_event(*json, &ours);
  if (!event || ours.empty()) return event;
  Headers headers = to_headers(*event);
  std::ranges::move(ours, std::back_inserter(headers));
  return from_headers(headers, std::move(event->data));
}

Result<std::vector<Event>> events_from_batch(std::string_view text, std::size_t bytes_max) {
  const auto json = parse_json(text, bytes_max);
  if (!json) return fail(json.error());
  if (!json->is_array()) {
    return fail(Errc::invalid_argument, "a batch must be an array of events, is " + std::string(name_of(json->kind())));
  }
  if (json->items().size() > kBatchEventsMax) {
    return fail(Errc::too_large, "a batch of " + std::to_string(json->items().size()) + " events; at most " +
                                     std::to_string(kBatchEventsMax) + " are taken at once");
  }
  std::vector<Event> events;
  events.reserve(json->items().size());
  for (const auto& item : json->items()) {
    auto event = event_from_json(item);
    if (!event) return fail(event.error().with("event " + std::to_string(events.size() + 1)));
    events.push_back(std::move(*event));
  }
  return events;
}

Result<Event> event_from_attributes(const Headers& headers, std::string data) {
  Event event;
  event.data = std::move(data);
  std::vector<std::string> seen;
  for (const auto& [header, given] : headers) {
    std::string name(header);
    std::ranges::transform(name, name.begin(), lower);
    if (name == "content-type") {
      event.content_type = given;
      continue;
    }
    if (!name.starts_with(kPrefix)) continue;
    name.erase(0, kPrefix.size());
    if (std::ranges::find(seen, name) != seen.end()) return bad(name, "is there twice");
    seen.push_back(name);
    if (name == kContentType) return bad(name, "is the header Content-Type in this mode");
    std::string value = given;
    if (value.empty()) return bad(name, "is empty");
    const auto taken = take_attribute(name, value, event);
    if (!taken) return fail(taken.error());
    if (*taken) continue;
    if (auto added = add_extension(name, std::move(value), event); !added) return fail(added.error());
  }
  const bool is_cloudevent = std::ranges::find(seen, "specversion") != seen.end();
  if (!is_cloudevent) return event;
  if (auto ok = check_attributes(event); !ok) return fail(ok.error());
  return event;
}

}  // namespace millrace
