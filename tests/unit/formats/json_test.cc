#include "formats/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace millrace {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::size_t kBytesMax = 1 << 20;

Json parsed(std::string_view text) {
  auto json = parse_json(text, kBytesMax);
  EXPECT_TRUE(json) << text << ": " << json.error().message;
  return json ? *json : Json();
}

std::string refusal(std::string_view text) {
  const auto json = parse_json(text, kBytesMax);
  if (json) return "accepted: " + json->dump();
  EXPECT_EQ(json.error().code, Errc::invalid_argument);
  return json.error().message;
}

TEST(Json, KnowsWhatItHolds) {
  EXPECT_EQ(Json().kind(), Json::Kind::null);
  EXPECT_EQ(Json(nullptr).kind(), Json::Kind::null);
  EXPECT_EQ(Json(true).kind(), Json::Kind::boolean);
  EXPECT_EQ(Json(1).kind(), Json::Kind::integer);
  EXPECT_EQ(Json(1U).kind(), Json::Kind::integer);
  EXPECT_EQ(Json(std::numeric_limits<std::uint64_t>::max()).kind(), Json::Kind::integer);
  EXPECT_EQ(Json(1.0).kind(), Json::Kind::number);
  EXPECT_EQ(Json("a").kind(), Json::Kind::string);
  EXPECT_EQ(Json(std::string("a")).kind(), Json::Kind::string);
  EXPECT_EQ(Json(std::string_view("a")).kind(), Json::Kind::string);
  EXPECT_EQ(Json::array().kind(), Json::Kind::array);
  EXPECT_EQ(Json::object().kind(), Json::Kind::object);
}

TEST(Json, GivesAValueOnlyAsWhatItIs) {
  EXPECT_EQ(Json(true).boolean(), true);
  EXPECT_EQ(Json(1).boolean(), std::nullopt);
  EXPECT_EQ(Json(-1).int64(), -1);
  EXPECT_EQ(Json(-1).uint64(), std::nullopt);
  EXPECT_EQ(Json(1.5).int64(), std::nullopt);
  EXPECT_EQ(Json(std::numeric_limits<std::uint64_t>::max()).int64(), std::nullopt);
  EXPECT_EQ(Json(std::numeric_limits<std::uint64_t>::max()).uint64(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(Json(3).number(), 3.0);
  EXPECT_EQ(Json("3").number(), std::nullopt);
  ASSERT_NE(Json("a").string(), nullptr);
  EXPECT_EQ(Json(1).string(), nullptr);
  EXPECT_TRUE(Json(1).items().empty());
  EXPECT_TRUE(Json(1).members().empty());
  EXPECT_EQ(Json(1).find("a"), nullptr);
}

TEST(Json, LooksUpMembersWithAFallback) {
  const Json json = parsed(R"({"s":"text","i":-7,"u":7,"d":1.5,"b":true,"n":null})");
  EXPECT_EQ(json.string_or("s", "x"), "text");
  EXPECT_EQ(json.string_or("i", "x"), "x");
  EXPECT_EQ(json.string_or("absent", "x"), "x");
  EXPECT_EQ(json.int_or("i", 1), -7);
  EXPECT_EQ(json.int_or("d", 1), 1);
  EXPECT_EQ(json.uint_or("u", 1), 7U);
  EXPECT_EQ(json.uint_or("i", 1), 1U);
  EXPECT_EQ(json.number_or("d", 0), 1.5);
  EXPECT_EQ(json.number_or("i", 0), -7);
  EXPECT_EQ(json.bool_or("b", false), true);
  EXPECT_EQ(json.bool_or("n", false), false);
  EXPECT_EQ(json.find("absent"), nullptr);
  ASSERT_NE(json.find("n"), nullptr);
  EXPECT_TRUE(json.find("n")->is_null());
}

TEST(Json, KeepsTheOrderOfKeys) {
  EXPECT_EQ(parsed(R"({"z":1,"a":2,"m":{"y":1,"b":2}})").dump(), R"({"z":1,"a":2,"m":{"y":1,"b":2}})");
  Json json;
  json.set("z", 1).set("a", 2).set("z", 3);
  EXPECT_EQ(json.dump(), R"({"z":3,"a":2})");
}

TEST(Json, BuildsDocumentsFromPlainValues) {
  Json list;
  list.append(1).append("two").append(nullptr);
  const Json json = Json::object({{"list", list}, {"flag", false}, {"inner", Json::object({{"k", 1.5}})}});
  EXPECT_EQ(json.dump(), R"({"list":[1,"two",null],"flag":false,"inner":{"k":1.5}})");
  EXPECT_EQ(Json::array({1, "a", Json::array()}).dump(), R"([1,"a",[]])");
}

TEST(Json, DumpsIndented) {
  EXPECT_EQ(parsed(R"({"a":[1,{"b":2}],"c":{},"d":[]})").dump_indented(),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}");
}

TEST(Json, KeepsWholeNumbersWhole) {
  for (const std::string text : {"0", "-1", "9223372036854775807", "-9223372036854775808", "18446744073709551615"}) {
    EXPECT_EQ(parsed(text).dump(), text);
    EXPECT_EQ(parsed(text).kind(), Json::Kind::integer);
  }
  EXPECT_EQ(parsed("18446744073709551616").kind(), Json::Kind::number);
}

TEST(Json, KeepsNumbersWithAFractionApart) {
  EXPECT_EQ(Json(1.0).dump(), "1.0");
  EXPECT_EQ(Json(0.1).dump(), "0.1");
  EXPECT_EQ(Json(1e300).dump(), "1e+300");
  EXPECT_EQ(parsed("1.0"), Json(1.0));
  EXPECT_NE(parsed("1"), Json(1.0));
  EXPECT_EQ(Json(std::numeric_limits<double>::infinity()).dump(), "null");
  EXPECT_EQ(Json(std::numeric_limits<double>::quiet_NaN()).dump(), "null");
}

TEST(Json, WritesNumbersAgainAsTheyWereRead) {
  const std::string text = R"([0.1000,1E5,-1.50e-3,12345678901234567890123,-9223372036854775809])";
  const auto json = parse_json(text, text.size());
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ(json->dump(), text);
  EXPECT_EQ(json->items().front().number(), 0.1);
}

TEST(Json, EscapesStrings) {
  EXPECT_EQ(Json(std::string("\"\\\n\r\t\b\x1f\x7f\0k\xc3\xbc", 12)).dump(),
            "\"\\\"\\\\\\n\\r\\t\\u0008\\u001f\\u007f\\u0000k\xc3\xbc\"");
}

TEST(Json, ReplacesInvalidUtf8) {
  EXPECT_EQ(Json("a\xff"
                 "b\xc3")
                .dump(),
            "\"a\xef\xbf\xbd"
            "b\xef\xbf\xbd\"");
  EXPECT_EQ(Json("\xed\xa0\x80").dump(), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"") << "a surrogate is no character";
}

TEST(Json, ReadsEscapes) {
  EXPECT_EQ(*parsed(R"("\u0041\ud83d\ude00\/\n")").string(), "A\xf0\x9f\x98\x80/\n");
}

TEST(Json, ReadsBackWhatItWrote) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto make = [&random](const auto& self, int depth) -> Json {
    switch (random() % (depth > 3 ? 6 : 8)) {
      case 0: return nullptr;
      case 1: return random() % 2 == 0;
      case 2: return static_cast<std::int64_t>(random());
      case 3: return random();
      case 4: return static_cast<double>(random()) / 3e5;
      case 5: {
        std::string text;
        for (std::uint64_t n = random() % 8; n > 0; --n) text += static_cast<char>(random() % 128);
        return text;
      }
      case 6: {
        Json list = Json::array();
        for (std::uint64_t n = random() % 5; n > 0; --n) list.append(self(self, depth + 1));
        return list;
      }
      default: {
        Json object = Json::object();
        for (std::uint64_t n = random() % 5; n > 0; --n) object.set("k" + std::to_string(n), self(self, depth + 1));
        return object;
      }
    }
  };
  for (int i = 0; i < 2000; ++i) {
    const Json json = make(make, 0);
    ASSERT_EQ(parsed(json.dump()), json) << json.dump();
    ASSERT_EQ(parsed(json.dump_indented()), json) << json.dump();
  }
}

TEST(ParseJson, NamesLineColumnAndCause) {
  EXPECT_THAT(refusal("{\n  \"a\": 1,\n  \"b\" 2\n}"), HasSubstr("line 3, column 7: "));
  EXPECT_THAT(refusal("{\n  \"a\": 1,\n  \"b\" 2\n}"), HasSubstr("expected ':'"));
  EXPECT_THAT(refusal(""), HasSubstr("unexpected end of input"));
  EXPECT_THAT(refusal("[1,]"), HasSubstr("line 1, column 4"));
  EXPECT_THAT(refusal("nul"), HasSubstr("line 1"));
  EXPECT_THAT(refusal("{} {}"), HasSubstr("expected end of input"));
  EXPECT_THAT(refusal("1e999"), HasSubstr("line 1, column 5: a number is too large"));
  EXPECT_THAT(refusal("[1 // a comment\n]"), HasSubstr("line 1"));
  EXPECT_THAT(refusal("\"a\nb\""), HasSubstr("control character"));
  EXPECT_THAT(refusal("\"\xff\""), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal("NaN"), HasSubstr("not valid JSON"));
}

TEST(ParseJson, DoesNotRepeatTheDocumentInItsMessages) {
  EXPECT_THAT(refusal(R"({"password": "secret" "x"})"), Not(HasSubstr("secret")));
  EXPECT_THAT(refusal("{\"password\": \"secret\x01"), Not(HasSubstr("secret")));
  EXPECT_THAT(refusal("secret"), Not(HasSubstr("secret")));
}

TEST(ParseJson, RefusesAKeyThatIsThereTwice) {
  EXPECT_EQ(refusal("{\"a\":1,\n\"a\":2}"),
            "not valid JSON: line 2, column 6: key 'a' is there twice in the object that ends here");
  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_EQ(refusal(many + "\"k57\":0}").substr(0, 45), "not valid JSON: line 1, column 799: key 'k57'");
  EXPECT_EQ(parsed(many + "\"last\":0}").members().size(), 101U);
  EXPECT_TRUE(parse_json(R"([{"a":1},{"a":1}])", kBytesMax));
}

TEST(ParseJson, BoundsTheDepth) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(parse_json(nested(kJsonDepthMax), kBytesMax));
  EXPECT_EQ(refusal(nested(kJsonDepthMax + 1)), "not valid JSON: line 1, column 65: nested deeper than 64 levels");
  EXPECT_THAT(refusal(std::string(kBytesMax, '[')), HasSubstr("deeper"));
  std::string objects;
  for (std::size_t i = 0; i <= kJsonDepthMax; ++i) objects += R"({"a":)";
  EXPECT_THAT(refusal(objects), HasSubstr("deeper"));
}

TEST(ParseJson, BoundsTheSize) {
  EXPECT_TRUE(parse_json("[1]", 3));
  const auto over = parse_json("[12]", 3);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, Errc::too_large);
  EXPECT_EQ(over.error().message, "a JSON document of 4 bytes; at most 3 are accepted here");
}

TEST(ParseJson, KeepsTheLines) {
  const Json json = parsed("{\n\"a\": 1\n,\n\"b\": [\ntrue,\n\n-12\n],\n\"c\":\n{ }\n}");
  EXPECT_EQ(json.line(), 1U);
  EXPECT_EQ(json.members()[0].line, 2U);
  EXPECT_EQ(json.find("a")->line(), 2U) << "although the number ends with the line";
  EXPECT_EQ(json.find("b")->line(), 4U);
  EXPECT_EQ(json.find("b")->items()[0].line(), 5U);
  EXPECT_EQ(json.find("b")->items()[1].line(), 7U);
  EXPECT_EQ(json.members()[2].line, 9U);
  EXPECT_EQ(json.find("c")->line(), 10U);
}

TEST(ParseJson, SurvivesAnyChangedByte) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string good = R"({"a":[1,2.5,-3e7,"x\u00e9\n",null,true],"b":{"c":{"d":[[[]]]}},"e":"k"})";
  for (int i = 0; i < 20'000; ++i) {
    std::string text = good;
    for (std::uint64_t n = random() % 4 + 1; n > 0; --n) text[random() % text.size()] = static_cast<char>(random());
    const auto json = parse_json(text, kBytesMax);
    if (json) {
      ASSERT_EQ(parsed(json->dump()), *json);
    }
  }
}

}  // namespace
}  // namespace millrace
