#include "core/units.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace millrace {
namespace {

using std::chrono::milliseconds;

template <class Value>
void expect_refused(const Result<Value>& value, std::string_view text) {
  ASSERT_FALSE(value) << text;
  EXPECT_EQ(value.error().code, Errc::invalid_argument);
  EXPECT_NE(value.error().message.find("'" + std::string(text.substr(0, 64)) + "' is not "), std::string::npos)
      << value.error().message;
}

TEST(ParseBytes, UnderstandsQuantities) {
  const std::vector<std::pair<std::string, std::uint64_t>> cases{{"0", 0},
                                                                 {"1", 1},
                                                                 {"4096", 4096},
                                                                 {"1k", 1000},
                                                                 {"1K", 1000},
                                                                 {"2M", 2'000'000},
                                                                 {"1G", 1'000'000'000},
                                                                 {"1T", 1'000'000'000'000},
                                                                 {"1P", 1'000'000'000'000'000},
                                                                 {"1Ki", 1024},
                                                                 {"512Mi", 536'870'912},
                                                                 {"1Gi", 1ULL << 30},
                                                                 {"3Ti", 3ULL << 40},
                                                                 {"2Pi", 2ULL << 50},
                                                                 {"0.5Gi", 1ULL << 29},
                                                                 {".5Ki", 512},
                                                                 {"1.Ki", 1024},
                                                                 {"1.5", 2},
                                                                 {"0.1", 1},
                                                                 {"1e9", 1'000'000'000},
                                                                 {"1E3", 1000},
                                                                 {"12e2k", 1'200'000},
                                                                 {"007", 7},
                                                                 {"9007199254740993", 9'007'199'254'740'993},
                                                                 {"9223372036854775807", 9'223'372'036'854'775'807},
                                                                 {"8191Pi", 8191ULL << 50}};
  for (const auto& [text, bytes] : cases) {
    const auto parsed = parse_bytes(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error().message;
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const std::string text : {"",
                                 " ",
                                 "-1",
                                 "+1",
                                 "x",
                                 "1 Ki",
                                 " 1",
                                 "1 ",
                                 "1KiB",
                                 "1kB",
                                 "1B",
                                 "1mi",
                                 "Ki",
                                 ".",
                                 "1..5",
                                 "1e",
                                 "nan",
                                 "inf",
                                 "0x10",
                                 "1_000",
                                 "1,5",
                                 "8192Pi",
                                 "9223372036854775808",
                                 "99999999999999999999",
                                 "1e30",
                                 "1e999",
                                 "10000000P"}) {
    expect_refused(parse_bytes(text), text);
  }
  expect_refused(parse_bytes(std::string(10'000, '9')), std::string(10'000, '9'));
}

TEST(ParseMillicores, UnderstandsQuantities) {
  const std::vector<std::pair<std::string, std::uint32_t>> cases{{"0", 0},
                                                                 {"1", 1000},
                                                                 {"0.5", 500},
                                                                 {".2", 200},
                                                                 {"250m", 250},
                                                                 {"0.25m", 1},
                                                                 {"1.0001", 1001},
                                                                 {"2", 2000},
                                                                 {"1000000", 1'000'000'000},
                                                                 {"1000000000m", 1'000'000'000}};
  for (const auto& [text, millicores] : cases) {
    const auto parsed = parse_millicores(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error().message;
    EXPECT_EQ(*parsed, millicores) << text;
  }
}

TEST(ParseMillicores, RefusesWhatIsNoAmount) {
  for (const std::string text :
       {"", "m", "-1", "1 m", "1M", "1e3", "1mm", "nan", "x", "1000001", "1000000001m", "99999999999999999999999"}) {
    expect_refused(parse_millicores(text), text);
  }
}

TEST(ParseDuration, UnderstandsGoDurations) {
  const std::vector<std::pair<std::string, std::int64_t>> cases{{"0", 0},
                                                                {"0s", 0},
                                                                {"90s", 90'000},
                                                                {"1h30m", 5'400'000},
                                                                {"0.5s", 500},
                                                                {"1.5h", 5'400'000},
                                                                {"250ms", 250},
                                                                {"1s250ms", 1250},
                                                                {"2d", 172'800'000},
                                                                {"1d1h1m1s1ms", 90'061'001},
                                                                {".5m", 30'000},
                                                                {"3650d", 315'360'000'000},
                                                                {"0.4ms", 0},
                                                                {"0.6ms", 1}};
  for (const auto& [text, ms] : cases) {
    const auto parsed = parse_duration(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error().message;
    EXPECT_EQ(parsed->count(), ms) << text;
  }
}

TEST(ParseDuration, RefusesWhatIsNoDuration) {
  for (const std::string text :
       {"",   "30", "s",   "-1s",   "+1s",    "1 s", "1s ",  "1S",   "1us",   "1ns",
        "1w", "1y", "1s2", "1..5s", "1h 30m", "nan", "infs", "1e3s", "3651d", "99999999999999999999d"}) {
    expect_refused(parse_duration(text), text);
  }
}

TEST(Units, FormatIsTheShortestThatParsesBack) {
  EXPECT_EQ(format_bytes(0), "0");
  EXPECT_EQ(format_bytes(1000), "1000");
  EXPECT_EQ(format_bytes(1024), "1Ki");
  EXPECT_EQ(format_bytes(1536), "1536");
  EXPECT_EQ(format_bytes(536'870'912), "512Mi");
  EXPECT_EQ(format_bytes(3ULL << 50), "3Pi");
  EXPECT_EQ(format_millicores(0), "0");
  EXPECT_EQ(format_millicores(500), "500m");
  EXPECT_EQ(format_millicores(2000), "2");
  EXPECT_EQ(format_duration(milliseconds(0)), "0");
  EXPECT_EQ(format_duration(milliseconds(1)), "1ms");
  EXPECT_EQ(format_duration(milliseconds(90'000)), "90s");
  EXPECT_EQ(format_duration(milliseconds(60'000)), "1m");
  EXPECT_EQ(format_duration(milliseconds(5'400'000)), "90m");
  EXPECT_EQ(format_duration(milliseconds(86'400'000)), "1d");
}

TEST(Units, WhatIsFormattedParsesBack) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  for (int i = 0; i < 50'000; ++i) {
    const std::uint64_t bits = random() % 64;
    const std::uint64_t bytes = (random() >> bits) & kMax & ~((1ULL << (random() % 40)) - 1);
    ASSERT_EQ(parse_bytes(format_bytes(bytes)).value_or(bytes + 1), bytes) << format_bytes(bytes);
    const auto millicores = static_cast<std::uint32_t>(random() % 1'000'000'001);
    ASSERT_EQ(parse_millicores(format_millicores(millicores)).value_or(millicores + 1), millicores)
        << format_millicores(millicores);
    const milliseconds duration(static_cast<std::int64_t>((random() >> bits) % 315'360'000'001));
    ASSERT_EQ(parse_duration(format_duration(duration)).value_or(duration + milliseconds(1)), duration)
        << format_duration(duration);
  }
}

TEST(Units, AnyTextIsParsedOrRefused) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string_view alphabet = "0123456789.eE+-kKMGTPimshd \xff\x00";
  for (int i = 0; i < 100'000; ++i) {
    std::string text;
    for (std::uint64_t n = random() % 8; n > 0; --n) text += alphabet[random() % alphabet.size()];
    if (const auto bytes = parse_bytes(text)) {
      ASSERT_EQ(parse_bytes(format_bytes(*bytes)).value_or(*bytes + 1), *bytes) << text;
    }
    if (const auto cores = parse_millicores(text)) {
      ASSERT_LE(*cores, 1'000'000'000U) << text;
    }
    if (const auto duration = parse_duration(text)) {
      ASSERT_GE(duration->count(), 0) << text;
    }
  }
}

}  // namespace
}  // namespace millrace
