#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "formats/base64.h"
#include "formats/timestamp.h"
#include "formats/utf8.h"

namespace millrace {
namespace {

using std::chrono::nanoseconds;
using std::chrono::system_clock;

system_clock::time_point at(std::int64_t ns) {
  return system_clock::time_point(nanoseconds(ns));
}

TEST(Timestamp, HasMillisecondsRoundedDown) {
  EXPECT_EQ(format_timestamp(at(0)), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(format_timestamp(at(1'763'712'900'123'999'999)), "2025-11-21T08:15:00.123Z");
  EXPECT_EQ(format_timestamp(at(-1)), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(format_timestamp(at(951'782'400'000'000'000)), "2000-02-29T00:00:00.000Z");
}

TEST(Timestamp, TellsTheFirstAndTheLastMomentThereAre) {
  EXPECT_EQ(format_timestamp_exact(system_clock::time_point::min()), "1677-09-21T00:12:43.145224192Z");
  EXPECT_EQ(format_timestamp_exact(system_clock::time_point::max()), "2262-04-11T23:47:16.854775807Z");
}

TEST(Timestamp, ExactHasTheDigitsItNeeds) {
  EXPECT_EQ(format_timestamp_exact(at(1'000'000'000)), "1970-01-01T00:00:01Z");
  EXPECT_EQ(format_timestamp_exact(at(1'100'000'000)), "1970-01-01T00:00:01.100Z");
  EXPECT_EQ(format_timestamp_exact(at(1'000'100'000)), "1970-01-01T00:00:01.000100Z");
  EXPECT_EQ(format_timestamp_exact(at(1'000'000'001)), "1970-01-01T00:00:01.000000001Z");
}

TEST(Timestamp, ExactReadsBackTheSame) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20'000; ++i) {
    const auto time = at(static_cast<std::int64_t>(random() >> 1) * (random() % 2 == 0 ? 1 : -1));
    const auto text = format_timestamp_exact(time);
    const auto back = parse_timestamp(text);
    if (text < "1678" || text.substr(0, 4) == "2262") continue;
    ASSERT_TRUE(back) << text;
    ASSERT_EQ(*back, time) << text;
  }
}

TEST(Timestamp, UnderstandsOffsetsAndFractions) {
  const auto expected = at(1'763'712'900'500'000'000);
  for (const std::string text :
       {"2025-11-21T08:15:00.5Z", "2025-11-21t08:15:00.500z", "2025-11-21 08:15:00.5Z", "2025-11-21T10:15:00.5+02:00",
        "2025-11-21T02:45:00.5-05:30", "2025-11-22T08:14:00.5+23:59", "2025-11-21T08:15:00.5000000009Z"}) {
    const auto time = parse_timestamp(text);
    ASSERT_TRUE(time) << text;
    EXPECT_EQ(*time, expected) << text;
  }
}

TEST(Timestamp, RefusesWhatIsNoTime) {
  for (const std::string text : {"",
                                 "2025",
                                 "2025-11-21",
                                 "2025-11-21T08:15Z",
                                 "2025-11-21T08:15:00",
                                 "2025-13-21T08:15:00Z",
                                 "2025-00-21T08:15:00Z",
                                 "2025-11-31T08:15:00Z",
                                 "2025-02-29T08:15:00Z",
                                 "2025-11-21T24:00:00Z",
                                 "2025-11-21T08:60:00Z",
                                 "2025-11-21T08:15:60Z",
                                 "2025-11-21T08:15:00.Z",
                                 "2025-11-21T08:15:00Zx",
                                 "2025-11-21T08:15:00+2:00",
                                 "2025-11-21T08:15:00+02",
                                 "2025-11-21T08:15:00+24:00",
                                 " 2025-11-21T08:15:00Z",
                                 "+025-11-21T08:15:00Z",
                                 "1677-12-31T00:00:00Z",
                                 "2262-01-01T00:00:00Z",
                                 "2025-11-21T08:15:0\xff"}) {
    const auto time = parse_timestamp(text);
    ASSERT_FALSE(time) << text;
    EXPECT_EQ(time.error().code, Errc::invalid_argument);
    EXPECT_NE(time.error().message.find("RFC 3339"), std::string::npos);
  }
}

TEST(Utf8, TellsTheLengthOfACharacter) {
  EXPECT_EQ(utf8_length(""), 0U);
  EXPECT_EQ(utf8_length("a"), 1U);
  EXPECT_EQ(utf8_length(std::string_view("\0", 1)), 1U);
  EXPECT_EQ(utf8_length("\xc2\x80"), 2U);
  EXPECT_EQ(utf8_length("\xdf\xbf"), 2U);
  EXPECT_EQ(utf8_length("\xe0\xa0\x80"), 3U);
  EXPECT_EQ(utf8_length("\xed\x9f\xbf"), 3U);
  EXPECT_EQ(utf8_length("\xef\xbf\xbf"), 3U);
  EXPECT_EQ(utf8_length("\xf0\x90\x80\x80"), 4U);
  EXPECT_EQ(utf8_length("\xf4\x8f\xbf\xbf"), 4U);
}

TEST(Utf8, RefusesWhatIsNoCharacter) {
  for (const std::string text : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf",
                                 "\xed\xa0\x80", "\xed\xbf\xbf", "\xe1\x80", "\xe1\x80\x41", "\xf0\x8f\xbf\xbf",
                                 "\xf4\x90\x80\x80", "\xf1\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(utf8_length(text), 0U);
    EXPECT_FALSE(is_utf8(text));
    EXPECT_FALSE(is_utf8("ok" + text));
    EXPECT_TRUE(is_utf8(replace_invalid_utf8("ok" + text)));
  }
}

TEST(Utf8, ReplacesOnlyWhatIsBroken) {
  EXPECT_EQ(replace_invalid_utf8("k\xc3\xbc\xc3\xa7"), "k\xc3\xbc\xc3\xa7");
  EXPECT_EQ(replace_invalid_utf8("a\xff"
                                 "b"),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(replace_invalid_utf8("\xe1\x80"), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(Base64, KnowsTheTestVectors) {
  const std::vector<std::pair<std::string, std::string>> vectors{{"", ""},
                                                                 {"f", "Zg=="},
                                                                 {"fo", "Zm8="},
                                                                 {"foo", "Zm9v"},
                                                                 {"foob", "Zm9vYg=="},
                                                                 {"fooba", "Zm9vYmE="},
                                                                 {"foobar", "Zm9vYmFy"},
                                                                 {"\xff\xfe\xfd", "//79"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(base64_encode(bytes), text);
    ASSERT_TRUE(base64_decode(text)) << text;
    EXPECT_EQ(*base64_decode(text), bytes);
  }
}

TEST(Base64, ReadsBackAnyBytes) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 5000; ++i) {
    std::string bytes(random() % 50, '\0');
    for (auto& c : bytes) c = static_cast<char>(random());
    const auto back = base64_decode(base64_encode(bytes));
    ASSERT_TRUE(back);
    ASSERT_EQ(*back, bytes);
  }
}

TEST(Base64, IsStrict) {
  for (const std::string text : {"Z", "Zg", "Zg=", "Zg===", "Z===", "====", "=g==", "Zm9v\n", " Zm9",
                                 "Zm9v Zg=", "Zm-_", "Zg==Zg==", "Zh==", "Zm9=", "Zm\xff="}) {
    EXPECT_FALSE(base64_decode(text)) << text;
  }
}

}  // namespace
}  // namespace millrace
