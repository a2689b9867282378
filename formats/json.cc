#include "formats/json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>

#include "formats/json_text.h"

namespace millrace {
namespace {

constexpr std::size_t kLinearSearchMax = 16;  // members up to which comparing all pairs beats sorting

void append_number(std::string& out, const Json& json) {
  if (!json.written().empty()) {
    out += json.written();
    return;
  }
  const double value = *json.number();
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  const std::string_view text(digits.data(), end);
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";  // stays a number with a fraction
}

// Writes a document; `indent` is the number of spaces per level, 0 for one line.
class Writer {
 public:
  explicit Writer(std::size_t indent) : indent_(indent) {}

  std::string write(const Json& json) {
    value(json, 0);
    return std::move(out_);
  }

 private:
  void value(const Json& json, std::size_t depth) {
    switch (json.kind()) {
      case Json::Kind::null: out_ += "null"; return;
      case Json::Kind::boolean: out_ += *json.boolean() ? "true" : "false"; return;
      case Json::Kind::integer:
        out_ += json.int64() ? std::to_string(*json.int64()) : std::to_string(*json.uint64());
        return;
      case Json::Kind::number: append_number(out_, json); return;
      case Json::Kind::string: append_json_string(out_, *json.string()); return;
      case Json::Kind::array:
        list('[', ']', json.items(), depth, [this, depth](const Json& item) { value(item, depth + 1); });
        return;
      case Json::Kind::object:
        list('{', '}', json.members(), depth, [this, depth](const Json::Member& member) {
          append_json_string(out_, member.key);
          out_ += indent_ == 0 ? ":" : ": ";
          value(member.value, depth + 1);
        });
        return;
    }
  }

  template <class Items, class WriteItem>
  void list(char open, char close, const Items& items, std::size_t depth, WriteItem write_item) {
    out_ += open;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += ',';
      first = false;
      new_line(depth + 1);
      write_item(item);
    }
    if (!first) new_line(depth);
    out_ += close;
  }

  void new_line(std::size_t depth) {
    if (indent_ == 0) return;
    out_ += '\n';
    out_.append(depth * indent_, ' ');
  }

  std::size_t indent_;
  std::string out_;
};

}  // namespace

Json::Json(std::nullptr_t) {}
Json::Json(Flag flag) : value_(flag.value) {}
Json::Json(double value) : value_(Real{.value = value, .text = {}}) {}
Json::Json(std::string value) : value_(std::move(value)) {}
Json::Json(std::string_view value) : value_(std::string(value)) {}
Json::Json(const char* value) : value_(std::string(value)) {}
Json::Json(Array value) : value_(std::move(value)) {}
Json::Json(Object value) : value_(std::move(value)) {}

Json::Json(Whole whole) {
  if (whole.fits_int64) {
    value_ = static_cast<std::int64_t>(whole.bits);
  } else {
    value_ = whole.bits;
  }
}

bool Json::operator==(const Json& other) const {
  return value_ == other.value_;
}

Json Json::array(std::initializer_list<Json> items) {
  return {Array(items)};
}
Json Json::object(std::initializer_list<Member> members) {
  return {Object(members)};
}

Json Json::number_as_written(double value, std::string text) {
  Json json;
  json.value_ = Real{.value = value, .text = std::move(text)};
  return json;
}

Json::Kind Json::kind() const {
  constexpr std::array kKinds{Kind::null,   Kind::boolean, Kind::integer, Kind::integer,
                              Kind::number, Kind::string,  Kind::array,   Kind::object};
  static_assert(kKinds.size() == std::variant_size_v<decltype(value_)>);
  return kKinds.at(value_.index());
}

std::optional<bool> Json::boolean() const {
  const auto* value = std::get_if<bool>(&value_);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::int64_t> Json::int64() const {
  const auto* value = std::get_if<std::int64_t>(&value_);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::uint64_t> Json::uint64() const {
  if (const auto* value = std::get_if<std::uint64_t>(&value_)) return *value;
  const auto* value = std::get_if<std::int64_t>(&value_);
  if (value == nullptr || *value < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

std::optional<double> Json::number() const {
  if (const auto* value = std::get_if<Real>(&value_)) return value->value;
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<std::uint64_t>(&value_)) return static_cast<double>(*value);
  return std::nullopt;
}

std::string_view Json::written() const {
  const auto* value = std::get_if<Real>(&value_);
  return value == nullptr ? std::string_view() : value->text;
}

const std::string* Json::string() const {
  return std::get_if<std::string>(&value_);
}

const Json::Array& Json::items() const {
  static const Array kEmpty;
  const auto* value = std::get_if<Array>(&value_);
  return value == nullptr ? kEmpty : *value;
}

const Json::Object& Json::members() const {
  static const Object kEmpty;
  const auto* value = std::get_if<Object>(&value_);
  return value == nullptr ? kEmpty : *value;
}

const Json* Json::find(std::string_view key) const {
  const auto& all = members();
  const auto found = std::ranges::find(all, key, &Member::key);
  return found == all.end() ? nullptr : &found->value;
}

std::string Json::string_or(std::string_view key, std::string_view fallback) const {
  const Json* value = find(key);
  return std::string(value != nullptr && value->is_string() ? *value->string() : fallback);
}

std::int64_t Json::int_or(std::string_view key, std::int64_t fallback) const {
  const Json* value = find(key);
  return value == nullptr ? fallback : value->int64().value_or(fallback);
}

std::uint64_t Json::uint_or(std::string_view key, std::uint64_t fallback) const {
  const Json* value = find(key);
  return value == nullptr ? fallback : value->uint64().value_or(fallback);
}

double Json::number_or(std::string_view key, double fallback) const {
  const Json* value = find(key);
  return value == nullptr ? fallback : value->number().value_or(fallback);
}

bool Json::bool_or(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  return value == nullptr ? fallback : value->boolean().value_or(fallback);
}

Json& Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = Object();
  auto& object = std::get<Object>(value_);
  const auto found = std::ranges::find(object, key, &Member::key);
  if (found != object.end()) {
    found->value = std::move(value);
  } else {
    object.push_back({.key = std::string(key), .value = std::move(value)});
  }
  return *this;
}

Json& Json::append_member(Member member) {
  if (is_null()) value_ = Object();
  std::get<Object>(value_).push_back(std::move(member));
  return *this;
}

Json& Json::append(Json value) {
  if (is_null()) value_ = Array();
  std::get<Array>(value_).push_back(std::move(value));
  return *this;
}

std::string Json::dump() const {
  return Writer(0).write(*this);
}
std::string Json::dump_indented() const {
  return Writer(2).write(*this);
}

std::string_view name_of(Json::Kind kind) {
  constexpr std::array<std::string_view, 7> kNames{"null",     "a boolean", "a whole number", "a number",
                                                   "a string", "an array",  "an object"};
  return kNames.at(static_cast<std::size_t>(kind));
}

std::optional<std::string_view> duplicate_key(const Json::Object& object) {
  if (object.size() <= kLinearSearchMax) {
    for (auto member = object.begin(); member != object.end(); ++member) {
      if (std::find_if(object.begin(), member, [member](const auto& earlier) { return earlier.key == member->key; }) !=
          member) {
        return member->key;
      }
    }
    return std::nullopt;
  }
  std::vector<std::string_view> keys;
  keys.reserve(object.size());
  std::ranges::transform(object, std::back_inserter(keys), &Json::Member::key);
  std::ranges::sort(keys);
  const auto twice = std::ranges::adjacent_find(keys);
  return twice == keys.end() ? std::nullopt : std::optional(*twice);
}

}  // namespace millrace
