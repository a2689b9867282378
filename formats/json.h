// Json: a document as a value, and the door to the JSON library. Objects keep the order of their keys.
//
//   auto request = parse_json(body, 1 << 20);
//   if (!request) return fail(request.error());                       // "line 3, column 7: ..."
//   const std::string name = request->string_or("name", "");
//   return Json::object({{"name", name}, {"revision", 3}, {"tags", Json::array({"a", "b"})}}).dump();
//
// Whole numbers are kept whole (64 bits, signed and unsigned) and apart from numbers with a fraction. These, and whole
// ones beyond 64 bits, are written again as they were read: people's data keeps digits that no double holds. For
// reading many fields with good error messages see object_reader.h.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"

namespace millrace {

inline constexpr std::size_t kJsonDepthMax = 64;

class Json {
 public:
  enum class Kind : std::uint8_t { null, boolean, integer, number, string, array, object };

  struct Member;
  using Array = std::vector<Json>;
  using Object = std::vector<Member>;

  Json();
  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(const Json& other);
  Json& operator=(Json&& other) noexcept;
  ~Json();

  // Plain values become JSON without ado: `{"retries", spec.retries}`. NOLINTBEGIN(google-explicit-constructor)
  Json(std::nullptr_t);
  Json(std::same_as<bool> auto value) : Json(Flag{value}) {}
  Json(double value);
  Json(std::string value);
  Json(std::string_view value);
  Json(const char* value);
  Json(Array value);
  Json(Object value);
  template <std::integral Number>
    requires(!std::same_as<Number, bool>)
  Json(Number value)
      : Json(Whole{.fits_int64 = std::in_range<std::int64_t>(value), .bits = static_cast<std::uint64_t>(value)}) {}
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] static Json array(std::initializer_list<Json> items = {});
  [[nodiscard]] static Json object(std::initializer_list<Member> members = {});
  // A number with a fraction, or too large for 64 bits, as it stands in a document.
  [[nodiscard]] static Json number_as_written(double value, std::string text);

  [[nodiscard]] Kind kind() const;
  [[nodiscard]] bool is_null() const { return kind() == Kind::null; }
  [[nodiscard]] bool is_string() const { return kind() == Kind::string; }
  [[nodiscard]] bool is_array() const { return kind() == Kind::array; }
  [[nodiscard]] bool is_object() const { return kind() == Kind::object; }

  // The value if it is of that kind. Whole numbers are doubles too; an integer that does not fit is no int64 or uint64.
  [[nodiscard]] std::optional<bool> boolean() const;
  [[nodiscard]] std::optional<std::int64_t> int64() const;
  [[nodiscard]] std::optional<std::uint64_t> uint64() const;
  [[nodiscard]] std::optional<double> number() const;
  [[nodiscard]] const std::string* string() const;
  // How a number of the kind `number` was written in the text it was read from; empty: it was not read.
  [[nodiscard]] std::string_view written() const;

  // Empty for other kinds.
  [[nodiscard]] const Array& items() const;
  [[nodiscard]] const Object& members() const;

  // The member of that name; null where there is none, or this is no object.
  [[nodiscard]] const Json* find(std::string_view key) const;

  // The member's value, or the fallback when it is absent or of another kind.
  [[nodiscard]] std::string string_or(std::string_view key, std::string_view fallback) const;
  [[nodiscard]] std::int64_t int_or(std::string_view key, std::int64_t fallback) const;
  [[nodiscard]] std::uint64_t uint_or(std::string_view key, std::uint64_t fallback) const;
  [[nodiscard]] double number_or(std::string_view key, double fallback) const;
  [[nodiscard]] bool bool_or(std::string_view key, bool fallback) const;

  // Adds or replaces a member; null becomes an object first.
  Json& set(std::string_view key, Json value);
  // Adds a member without looking whether its key is there already; for parsers. Null becomes an object first.
  Json& append_member(Member member);
  // Adds an item; null becomes an array first.
  Json& append(Json value);

  // In one line without spaces, or indented by two. Invalid UTF-8 becomes U+FFFD, infinities and NaN become null.
  [[nodiscard]] std::string dump() const;
  [[nodiscard]] std::string dump_indented() const;

  // Where the value began in the text it was read from, from 1; 0: not read from a text.
  [[nodiscard]] std::uint32_t line() const { return line_; }
  void set_line(std::uint32_t line) { line_ = line; }

  bool operator==(const Json& other) const;  // the line does not count

 private:
  struct Flag {
    bool value;
  };
  struct Whole {
    bool fits_int64;
    std::uint64_t bits;
  };
  struct Real {
    double value;
    std::string text;
    bool operator==(const Real& other) const { return value == other.value; }
  };
  explicit Json(Flag flag);
  explicit Json(Whole whole);

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, Real, std::string, Array, Object> value_;
  std::uint32_t line_ = 0;
};

struct Json::Member {
  std::string key;
  Json value;
  std::uint32_t line = 0;  // of the key, as Json::line()

  bool operator==(const Member& other) const { return key == other.key && value == other.value; }
};

// Here, since a document holds Members, which hold documents. clang-tidy 19 takes a default outside of the class for an
// implicitly inline one. NOLINTBEGIN(readability-redundant-inline-specifier)
inline Json::Json() = default;
inline Json::Json(const Json& other) = default;
inline Json::Json(Json&& other) noexcept = default;
inline Json& Json::operator=(const Json& other) = default;
inline Json& Json::operator=(Json&& other) noexcept = default;
inline Json::~Json() = default;
// NOLINTEND(readability-redundant-inline-specifier)

// What people call a value of that kind: "a string", "an array", "null".
[[nodiscard]] std::string_view name_of(Json::Kind kind);

// One document and nothing else. `too_large` above `bytes_max`; `invalid_argument` with line and cause for anything
// that is not JSON, is nested deeper than kJsonDepthMax, or has a key twice in one object.
[[nodiscard]] Result<Json> parse_json(std::string_view text, std::size_t bytes_max);

// The first key that is there twice; for parsers, which must refuse it.
[[nodiscard]] std::optional<std::string_view> duplicate_key(const Json::Object& object);

}  // namespace millrace
