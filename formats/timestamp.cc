#include "formats/timestamp.h"

#include <cstdint>
#include <optional>

namespace millrace {
namespace {

using Clock = std::chrono::system_clock;

constexpr int kYearMin = 1678;  // the whole years that nanoseconds in 64 bits can tell
constexpr int kYearMax = 2261;

void append_digits(std::string& out, std::int64_t value, std::size_t width) {
  const std::size_t start = out.size();
  out.append(width, '0');
  for (std::size_t i = start + width; i-- > start; value /= 10) out[i] = static_cast<char>('0' + value % 10);
}

// Date and time without a fraction and zone; returns the nanoseconds that are left.
std::int64_t append_seconds(std::string& out, Clock::time_point time) {
  // By remainders: the midnight before the first moment that 64 bits can tell is not one of them.
  constexpr std::int64_t kDay = std::chrono::nanoseconds(std::chrono::days(1)).count();
  const std::int64_t ns = std::chrono::nanoseconds(time.time_since_epoch()).count();
  const std::int64_t since_midnight = ns % kDay + (ns % kDay < 0 ? kDay : 0);
  const std::chrono::sys_days day{std::chrono::days(ns / kDay - (ns % kDay < 0 ? 1 : 0))};
  const std::chrono::year_month_day date(day);
  const std::int64_t seconds = since_midnight / 1'000'000'000;
  append_digits(out, static_cast<int>(date.year()), 4);
  out += '-';
  append_digits(out, static_cast<unsigned>(date.month()), 2);
  out += '-';
  append_digits(out, static_cast<unsigned>(date.day()), 2);
  out += 'T';
  append_digits(out, seconds / 3600, 2);
  out += ':';
  append_digits(out, seconds / 60 % 60, 2);
  out += ':';
  append_digits(out, seconds % 60, 2);
  return since_midnight % 1'000'000'000;
}

// Takes fields of fixed width from the front of a text; false stays false.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  int number(std::size_t width, int min, int max) {
    int value = 0;
    ok_ = ok_ && rest_.size() >= width;
    for (std::size_t i = 0; ok_ && i < width; ++i) {
      ok_ = rest_[i] >= '0' && rest_[i] <= '9';
      value = value * 10 + (rest_[i] - '0');
    }
    if (!ok_) return min;
    rest_.remove_prefix(width);
    ok_ = value >= min && value <= max;
    return value;
  }

  // One character of `choices`, which is returned.
  char one_of(std::string_view choices) {
    ok_ = ok_ && !rest_.empty() && choices.find(rest_[0]) != std::string_view::npos;
    if (!ok_) return 0;
    const char found = rest_[0];
    rest_.remove_prefix(1);
    return found;
  }

  // The digits after a '.', if there is one, as nanoseconds.
  std::int64_t fraction_ns() {
    if (!ok_ || rest_.empty() || rest_[0] != '.') return 0;
    rest_.remove_prefix(1);
    std::int64_t value = 0;
    std::size_t digits = 0;
    for (; !rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9'; ++digits, rest_.remove_prefix(1)) {
      if (digits < 9) value = value * 10 + (rest_[0] - '0');
    }
    ok_ = digits > 0;
    for (; digits < 9; ++digits) value *= 10;
    return value;
  }

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool finished() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

std::optional<Clock::time_point> parse(std::string_view text) {
  Scanner in(text);
  const int year = in.number(4, kYearMin, kYearMax);
  in.one_of("-");
  const int month = in.number(2, 1, 12);
  in.one_of("-");
  const int day = in.number(2, 1, 31);
  in.one_of("Tt ");
  const int hour = in.number(2, 0, 23);
  in.one_of(":");
  const int minute = in.number(2, 0, 59);
  in.one_of(":");
  const int second = in.number(2, 0, 59);
  const std::int64_t fraction_ns = in.fraction_ns();
  const char zone = in.one_of("Zz+-");
  int offset_minutes = 0;
  if (zone == '+' || zone == '-') {
    offset_minutes = in.number(2, 0, 23) * 60;
    in.one_of(":");
    offset_minutes += in.number(2, 0, 59);
    if (zone == '-') offset_minutes = -offset_minutes;
  }
  const std::chrono::year_month_day date(std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!in.finished() || !date.ok()) return std::nullopt;
  const auto local = std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
                     std::chrono::seconds(second);
  return local - std::chrono::minutes(offset_minutes) +
         std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(fraction_ns));
}

}  // namespace

std::string format_timestamp(Clock::time_point time) {
  std::string text;
  text.reserve(24);
  const std::int64_t rest_ns = append_seconds(text, time);
  text += '.';
  append_digits(text, rest_ns / 1'000'000, 3);
  text += 'Z';
  return text;
}

std::string format_timestamp_exact(Clock::time_point time) {
  std::string text;
  text.reserve(30);
  std::int64_t rest = append_seconds(text, time);
  if (rest != 0) {
    std::size_t width = 9;
    for (; rest % 1000 == 0; rest /= 1000) width -= 3;
    text += '.';
    append_digits(text, rest, width);
  }
  text += 'Z';
  return text;
}

Result<Clock::time_point> parse_timestamp(std::string_view text) {
  if (const auto time = parse(text)) return *time;
  return fail(Errc::invalid_argument, "'" + std::string(text.substr(0, 64)) +
                                          "' is not a time; expected RFC 3339, for example 2026-11-21T08:15:00.123Z");
}

}  // namespace millrace
