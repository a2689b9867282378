#include "net/http_message.h"

#include <algorithm>
#include <array>
#include <ctime>

namespace millrace {
namespace {

constexpr char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = to_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool is_unreserved(char c) {
  return (c >= '0' && c <= '9') || (to_lower(c) >= 'a' && to_lower(c) <= 'z') || c == '-' || c == '.' || c == '_' ||
         c == '~';
}

struct Reason {
  int status;
  std::string_view text;
};
constexpr auto kReasons = std::to_array<Reason>({
    {100, "Continue"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
});

void append_two_digits(std::string& text, int number) {
  text += static_cast<char>('0' + number / 10);
  text += static_cast<char>('0' + number % 10);
}

}  // namespace

bool http_names_equal(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, to_lower, to_lower);
}

std::optional<std::string_view> HttpHeaders::find(std::string_view name) const {
  const auto field =
      std::ranges::find_if(fields_, [name](const Field& one) { return http_names_equal(one.first, name); });
  if (field == fields_.end()) return std::nullopt;
  return field->second;
}

std::size_t HttpHeaders::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(fields_, [name](const Field& field) { return http_names_equal(field.first, name); }));
}

std::string_view http_reason(int status) {
  const auto* reason = std::ranges::find(kReasons, status, &Reason::status);
  return reason == kReasons.end() ? "Status" : reason->text;
}

std::string http_date(std::chrono::system_clock::time_point time) {
  // By hand: strftime's names depend on the locale.
  constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::string text = kDays.at(static_cast<std::size_t>(parts.tm_wday));
  text += ", ";
  append_two_digits(text, parts.tm_mday);
  text.append(" ").append(kMonths.at(static_cast<std::size_t>(parts.tm_mon))).append(" ");
  text += std::to_string(parts.tm_year + 1900) + " ";
  append_two_digits(text, parts.tm_hour);
  text += ':';
  append_two_digits(text, parts.tm_min);
  text += ':';
  append_two_digits(text, parts.tm_sec);
  return text + " GMT";
}

Result<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return fail(Errc::invalid_argument, "a '%' is not followed by two hex digits; write '%25' for a percent sign");
      }
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return fail(Errc::invalid_argument, "a zero byte (%00) is not allowed here");
    decoded += c;
  }
  return decoded;
}

std::string percent_encode(std::string_view text, Slash slash) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    if (is_unreserved(c) || (c == '/' && slash == Slash::keep)) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += '%';
    encoded += kDigits[byte >> 4];
    encoded += kDigits[byte & 0xf];
  }
  return encoded;
}

Result<HttpQuery> parse_query(std::string_view text) {
  HttpQuery query;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    if (pair.empty()) continue;
    const auto equals = std::min(pair.find('='), pair.size());
    std::string name(pair.substr(0, equals));
    std::string value(pair.substr(std::min(pair.size(), equals + 1)));
    std::ranges::replace(name, '+', ' ');
    std::ranges::replace(value, '+', ' ');
    auto decoded_name = percent_decode(name);
    if (!decoded_name) return fail(decoded_name.error());
    auto decoded_value = percent_decode(value);
    if (!decoded_value) return fail(decoded_value.error());
    query.emplace_back(std::move(*decoded_name), std::move(*decoded_value));
  }
  return query;
}

int http_status_of(Errc code) {
  switch (code) {
    case Errc::invalid_argument: return 400;
    case Errc::unauthenticated: return 401;
    case Errc::permission_denied: return 403;
    case Errc::not_found: return 404;
    case Errc::already_exists:
    case Errc::failed_precondition:
    case Errc::aborted: return 409;
    case Errc::too_large: return 413;
    case Errc::resource_exhausted: return 429;
    case Errc::unimplemented: return 501;
    case Errc::cancelled:
    case Errc::unavailable: return 503;
    case Errc::deadline_exceeded: return 504;
    case Errc::no_space: return 507;
    case Errc::data_loss:
    case Errc::internal: return 500;
  }
  return 500;
}

}  // namespace millrace
