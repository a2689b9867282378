// What HTTP messages are made of, and the small texts around them. No I/O here.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"

namespace millrace {

// Header fields in their order; names compare without case.
class HttpHeaders {
 public:
  using Field = std::pair<std::string, std::string>;

  HttpHeaders() = default;
  HttpHeaders(std::initializer_list<Field> fields) : fields_(fields) {}

  void add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }

  // The first value of that name.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const;
  [[nodiscard]] bool contains(std::string_view name) const { return find(name).has_value(); }
  [[nodiscard]] std::size_t count(std::string_view name) const;

  [[nodiscard]] auto begin() const { return fields_.begin(); }
  [[nodiscard]] auto end() const { return fields_.end(); }
  [[nodiscard]] bool empty() const { return fields_.empty(); }

 private:
  std::vector<Field> fields_;
};

// A request without its body.
struct HttpHead {
  std::string method;  // one of kHttpMethods
  std::string target;  // as sent, an absolute form reduced to path and query
  int version = 11;    // 10 or 11
  HttpHeaders headers;
  bool keep_alive = true;
  bool expects_continue = false;
  bool chunked = false;
  std::optional<std::uint64_t> content_length;
};

[[nodiscard]] bool http_names_equal(std::string_view a, std::string_view b);

// "Not Found" for 404; "Status" for what has no name.
[[nodiscard]] std::string_view http_reason(int status);

// IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT". Whole seconds.
[[nodiscard]] std::string http_date(std::chrono::system_clock::time_point time);

// "%41b" is "Ab". `invalid_argument` for a broken escape or a zero byte, which no path may hold. Plus stays plus.
[[nodiscard]] Result<std::string> percent_decode(std::string_view text);

// Everything but letters, digits and "-._~" escaped; with Slash::keep also '/' stays.
enum class Slash : std::uint8_t { escape, keep };
[[nodiscard]] std::string percent_encode(std::string_view text, Slash slash);

// "a=1&b" is {{"a", "1"}, {"b", ""}}; plus is a space here.
using HttpQuery = std::vector<std::pair<std::string, std::string>>;
[[nodiscard]] Result<HttpQuery> parse_query(std::string_view text);

// The status to answer an error with.
[[nodiscard]] int http_status_of(Errc code);

}  // namespace millrace
