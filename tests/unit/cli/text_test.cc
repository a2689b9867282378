#include "cli/text.h"

#include <gtest/gtest.h>

#include <array>

#include "cli/client.h"
#include "formats/timestamp.h"

namespace millrace::cli {
namespace {

TEST(EncodeKey, KeepsSlashesAndEncodesEverythingElseThatIsReserved) {
  EXPECT_EQ(encode_key("a/b c%d?e#f"), "a/b%20c%25d%3Fe%23f");
  EXPECT_EQ(encode_key("grün\n\xff-._~"), "gr%C3%BCn%0A%FF-._~");
}

TEST(EncodePart, EncodesSlashesToo) {
  EXPECT_EQ(encode_part("a/b"), "a%2Fb");
  EXPECT_EQ(encode_part(""), "");
}

TEST(Printable, LineBreaksStayOnlyWhereTheyMay) {
  EXPECT_EQ(printable("a\nb\tc\033"), "a?b?c?");
  EXPECT_EQ(printable_lines("a\nb\tc\033"), "a\nb\tc?");
  EXPECT_EQ(printable("grün \xc2\x85 \xc2"), "grün ? \xc2");
}

TEST(TextOf, UnderstandsBytesThatAreNoText) {
  const Json json = Json::object({{"a", "x"}, {"b", Json::object({{"base64", "/w=="}})}, {"c", 3}});
  EXPECT_EQ(text_of(json, "a"), "x");
  EXPECT_EQ(text_of(json, "b"), "\xff");
  EXPECT_EQ(text_of(json, "c"), "");
  EXPECT_EQ(text_of(json, "d"), "");
}

TEST(ObjectName, IsTakenApartAtTheFirstSlash) {
  const auto name = parse_object_name("videos/a/b.avi");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->bucket, "videos");
  EXPECT_EQ(name->key, "a/b.avi");
  EXPECT_EQ(parse_object_name("videos")->key, "");
  EXPECT_EQ(parse_object_name("/x").error().code, Errc::invalid_argument);
  EXPECT_EQ(parse_object_name("").error().code, Errc::invalid_argument);
}

TEST(ObjectName, IsPutTogetherFromAnAnswer) {
  const Json json = Json::object({{"bucket", "b"}, {"key", "k"}});
  EXPECT_EQ(object_name(&json), "b/k");
  EXPECT_EQ(object_name(nullptr), "");
}

TEST(Age, GrowsItsUnit) {
  const auto now = parse_timestamp("2026-01-03T00:00:00Z").value();
  EXPECT_EQ(age("2026-01-02T23:59:58.5Z", now), "1 s ago");
  EXPECT_EQ(age("2026-01-02T23:00:00Z", now), "60 min ago");
  EXPECT_EQ(age("2026-01-02T00:00:00Z", now), "24 h ago");
  EXPECT_EQ(age("2025-12-31T00:00:00Z", now), "3 d ago");
  EXPECT_EQ(age("2026-01-04T00:00:00Z", now), "0 s ago");  // clocks differ
  EXPECT_EQ(age("", now), "");
  EXPECT_EQ(age("nonsense\n", now), "nonsense?");
}

TEST(SomeOf, LeavesOutOnlyWhatSavesSpace) {
  const std::array<std::string, 5> items{"a", "b", "c", "d", "e"};
  EXPECT_EQ(some_of({items.data(), 0}, 2), "");
  EXPECT_EQ(some_of({items.data(), 3}, 2), "a, b, c");
  EXPECT_EQ(some_of(items, 2), "a, b and 3 more");
}

TEST(Counted, KnowsThePlural) {
  EXPECT_EQ(counted(0, "run"), "0 runs");
  EXPECT_EQ(counted(1, "run"), "1 run");
  EXPECT_EQ(counted(2, "run"), "2 runs");
}

}  // namespace
}  // namespace millrace::cli
