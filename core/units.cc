#include "core/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace millrace {
namespace {

struct Number {
  double value = 0;
  std::string_view rest;  // what follows the digits
};

std::unexpected<Error> bad(std::string_view text, std::string_view expected) {
  return fail(Errc::invalid_argument, "'" + std::string(text.substr(0, 64)) + "' is not " + std::string(expected));
}

// The leading non-negative decimal, with an exponent only where `allow_exponent` says so ("1e9" but not "1E" of exa).
Result<Number> leading_number(std::string_view text, bool allow_exponent) {
  if (text.empty() || !((text[0] >= '0' && text[0] <= '9') || text[0] == '.')) {
    return fail(Errc::invalid_argument, "no number");
  }
  Number number;
  const auto format = allow_exponent ? std::chars_format::general : std::chars_format::fixed;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number.value, format);
  if (error != std::errc{} || !std::isfinite(number.value)) return fail(Errc::invalid_argument, "no number");
  number.rest = text.substr(static_cast<std::size_t>(end - text.data()));
  return number;
}

constexpr std::array<std::pair<std::string_view, std::uint64_t>, 12> kByteUnits{{
    {"", 1},
    {"k", 1'000},
    {"K", 1'000},
    {"M", 1'000'000},
    {"G", 1'000'000'000},
    {"T", 1'000'000'000'000},
    {"P", 1'000'000'000'000'000},
    {"Ki", 1ULL << 10},
    {"Mi", 1ULL << 20},
    {"Gi", 1ULL << 30},
    {"Ti", 1ULL << 40},
    {"Pi", 1ULL << 50},
}};

constexpr std::array<std::pair<std::string_view, double>, 5> kTimeUnits{{
    {"ms", 1.0},
    {"s", 1000.0},
    {"m", 60'000.0},
    {"h", 3'600'000.0},
    {"d", 86'400'000.0},
}};

constexpr double kDurationMsMax = 3650.0 * 86'400'000.0;

}  // namespace

Result<std::uint64_t> parse_bytes(std::string_view text) {
  constexpr std::string_view kExpected =
      "a size; expected a number with an optional unit, for example 512Mi, 1G or 4096";
  constexpr std::string_view kTooLarge = "a size below 8Ei";
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();

  // Whole numbers exactly: a double knows only 53 bits.
  std::uint64_t whole = 0;
  const auto digits = text.substr(0, text.find_first_not_of("0123456789"));
  const bool fits = std::from_chars(digits.data(), digits.data() + digits.size(), whole).ec == std::errc{};
  for (const auto& [unit, factor] : kByteUnits) {
    if (digits.empty() || text.substr(digits.size()) != unit) continue;
    if (!fits || whole > kMax / factor) return bad(text, kTooLarge);
    return whole * factor;
  }

  const auto number = leading_number(text, true);
  if (!number) return bad(text, kExpected);
  for (const auto& [unit, factor] : kByteUnits) {
    if (number->rest != unit) continue;
    const double bytes = std::ceil(number->value * static_cast<double>(factor));
    if (bytes >= static_cast<double>(kMax)) return bad(text, kTooLarge);
    return static_cast<std::uint64_t>(bytes);
  }
  return bad(text, kExpected);
}

Result<std::uint32_t> parse_millicores(std::string_view text) {
  constexpr std::string_view kExpected = "an amount of cpu; expected cores or thousandths, for example 0.5, 2 or 250m";
  const auto number = leading_number(text, false);
  if (!number || (!number->rest.empty() && number->rest != "m")) return bad(text, kExpected);
  const double millicores = std::ceil(number->rest.empty() ? number->value * 1000 : number->value);
  if (millicores > 1e9) return bad(text, "an amount of cpu below 1000000 cores");
  return static_cast<std::uint32_t>(millicores);
}

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  constexpr std::string_view kExpected = "a duration; expected numbers with ms, s, m, h or d, for example 90s or 1h30m";
  if (text == "0") return std::chrono::milliseconds(0);
  double total_ms = 0;
  std::string_view rest = text;
  if (rest.empty()) return bad(text, kExpected);
  while (!rest.empty()) {
    const auto number = leading_number(rest, false);
    if (!number) return bad(text, kExpected);
    const auto unit_end = number->rest.find_first_of(".0123456789");
    const auto unit = number->rest.substr(0, unit_end);
    bool known = false;
    for (const auto& [name, factor] : kTimeUnits) {
      if (unit != name) continue;
      total_ms += number->value * factor;
      known = true;
    }
    if (!known) return bad(text, kExpected);
    rest = unit_end == std::string_view::npos ? std::string_view{} : number->rest.substr(unit_end);
  }
  if (total_ms > kDurationMsMax) return bad(text, "a duration of at most 10 years");
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::llround(total_ms)));
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<std::pair<std::uint64_t, std::string_view>, 5> kUnits{
      {{1ULL << 50, "Pi"}, {1ULL << 40, "Ti"}, {1ULL << 30, "Gi"}, {1ULL << 20, "Mi"}, {1ULL << 10, "Ki"}}};
  for (const auto& [size, unit] : kUnits) {
    if (bytes != 0 && bytes % size == 0) return std::to_string(bytes / size) + std::string(unit);
  }
  return std::to_string(bytes);
}

std::string format_millicores(std::uint32_t millicores) {
  return millicores % 1000 == 0 ? std::to_string(millicores / 1000) : std::to_string(millicores) + "m";
}

std::string format_duration(std::chrono::milliseconds duration) {
  constexpr std::array<std::pair<std::int64_t, std::string_view>, 4> kUnits{
      {{86'400'000, "d"}, {3'600'000, "h"}, {60'000, "m"}, {1000, "s"}}};
  const std::int64_t total_ms = duration.count();
  if (total_ms == 0) return "0";
  for (const auto& [size, unit] : kUnits) {
    if (total_ms % size == 0) return std::to_string(total_ms / size) + std::string(unit);
  }
  return std::to_string(total_ms) + "ms";
}

}  // namespace millrace
