#include "formats/object_reader.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Json parsed(std::string_view text) {
  auto json = parse_json(text, 1 << 20);
  EXPECT_TRUE(json) << json.error().message;
  return json ? *json : Json();
}

// The problems that `read` finds in a document, one text each.
template <class Read>
std::vector<std::string> problems_of(std::string_view text, Read read) {
  const Json json = parsed(text);
  Diagnostics problems;
  ObjectReader in(json, "it", problems);
  read(in);
  std::vector<std::string> texts;
  for (const auto& item : problems.items()) texts.push_back(to_text(item));
  return texts;
}

using Texts = std::vector<std::string>;

TEST(ObjectReader, ReadsEveryKind) {
  const Json json = parsed(R"({"t":"text","ts":["a","b"],"m":{"x":"1","y":2,"z":true,"n":null,"f":1.5},"i":-3,"u":4,
    "b":true,"w":"off","by":"2Ki","bn":77,"c":"250m","cn":0.5,"d":"1m30s","d0":0,"a":[1],"r":{"base64":"/w=="}})");
  Diagnostics problems;
  ObjectReader in(json, "", problems);
  EXPECT_EQ(in.text("t"), "text");
  EXPECT_EQ(in.texts("ts"), (Texts{"a", "b"}));
  EXPECT_EQ(in.text_map("m"),
            (std::map<std::string, std::string>{{"x", "1"}, {"y", "2"}, {"z", "true"}, {"n", ""}, {"f", "1.5"}}));
  EXPECT_EQ(in.integer("i", 0), -3);
  EXPECT_EQ(in.integer("u", 0U), 4U);
  EXPECT_TRUE(in.boolean("b", false));
  EXPECT_FALSE(in.boolean("w", true));
  EXPECT_EQ(in.bytes("by", 0), 2048U);
  EXPECT_EQ(in.bytes("bn", 0), 77U);
  EXPECT_EQ(in.millicores("c", 0), 250U);
  EXPECT_EQ(in.millicores("cn", 0), 500U);
  EXPECT_EQ(in.duration("d", seconds(0)), seconds(90));
  EXPECT_EQ(in.duration("d0", seconds(1)), seconds(0));
  EXPECT_EQ(in.array("a").size(), 1U);
  EXPECT_EQ(in.raw("r"), "\xff");
  EXPECT_EQ(in.raw("t"), "text");
  in.refuse_unknown();
  EXPECT_TRUE(problems.empty()) << problems.to_error("").message;
}

TEST(ObjectReader, GivesTheFallbackForWhatIsAbsentOrNull) {
  const Json json = parsed(R"({"n":null})");
  Diagnostics problems;
  ObjectReader in(json, "", problems);
  for (const std::string_view key : {"n", "absent"}) {
    EXPECT_EQ(in.find(key), nullptr);
    EXPECT_EQ(in.text(key, "x"), "x");
    EXPECT_EQ(in.texts(key, {"x"}), Texts{"x"});
    EXPECT_TRUE(in.text_map(key).empty());
    EXPECT_EQ(in.integer(key, 5), 5);
    EXPECT_TRUE(in.boolean(key, true));
    EXPECT_EQ(in.bytes(key, 6), 6U);
    EXPECT_EQ(in.millicores(key, 7), 7U);
    EXPECT_EQ(in.duration(key, seconds(8)), seconds(8));
    EXPECT_TRUE(in.array(key).empty());
    EXPECT_EQ(in.raw(key), "");
  }
  EXPECT_TRUE(problems.empty());
}

TEST(ObjectReader, NamesLinePathFoundAndExpected) {
  EXPECT_EQ(problems_of("{\n\"a\": [1]}", [](ObjectReader& in) { EXPECT_EQ(in.text("a", "x"), "x"); }),
            Texts{"line 2: it.a: must be a text, is an array"});
  EXPECT_EQ(problems_of(R"({"a":5})", [](ObjectReader& in) { EXPECT_EQ(in.text("a"), ""); }),
            Texts{"line 1: it.a: must be a text, is 5; put it in quotes if it is meant as text"});
  EXPECT_EQ(problems_of("{}", [](ObjectReader& in) { EXPECT_EQ(in.text("a"), ""); }),
            Texts{"line 1: it.a: is missing; a text is required"});
  EXPECT_EQ(problems_of(R"({"a":["x",1]})", [](ObjectReader& in) { EXPECT_EQ(in.texts("a"), Texts{"x"}); }),
            Texts{"line 1: it.a[1]: must be a text, is 1"});
  EXPECT_EQ(problems_of(R"({"a":"x"})", [](ObjectReader& in) { EXPECT_TRUE(in.array("a").empty()); }),
            Texts{"line 1: it.a: must be an array, is 'x'"});
  EXPECT_EQ(problems_of(R"({"a":{"k":[]}})", [](ObjectReader& in) { EXPECT_TRUE(in.text_map("a").empty()); }),
            Texts{"line 1: it.a.k: must be a text, is an array"});
  EXPECT_EQ(problems_of(R"({"a":[]})", [](ObjectReader& in) { EXPECT_TRUE(in.text_map("a").empty()); }),
            Texts{"line 1: it.a: must be a map of names to texts, is an array"});
  EXPECT_EQ(problems_of(R"({"a":"maybe"})", [](ObjectReader& in) { EXPECT_TRUE(in.boolean("a", true)); }),
            Texts{"line 1: it.a: must be true or false, is 'maybe'"});
  EXPECT_EQ(problems_of(R"({"a":{"base64":"?"}})", [](ObjectReader& in) { EXPECT_EQ(in.raw("a"), ""); }),
            Texts{"line 1: it.a: not valid base64"});
  EXPECT_EQ(problems_of(R"({"a":{}})", [](ObjectReader& in) { EXPECT_EQ(in.raw("a"), ""); }),
            Texts{R"(line 1: it.a: must be a text or {"base64": text}, is an object)"});
}

TEST(ObjectReader, WhatIsNoObjectIsOneProblem) {
  EXPECT_EQ(problems_of("[1]",
                        [](ObjectReader& in) {
                          EXPECT_EQ(in.integer("a", 3), 3);
                          in.refuse_unknown();
                        }),
            Texts{"line 1: it: must be an object, is an array"});
}

TEST(ObjectReader, HoldsTheBoundsOfNumbers) {
  const auto read = [](ObjectReader& in) { EXPECT_EQ(in.integer("a", 3U, {.min = 1, .max = 10}), 3U); };
  for (const std::string value : {"0", "11", "-1", "99999999999999999999"}) {
    const auto texts = problems_of(R"({"a":)" + value + "}", read);
    ASSERT_EQ(texts.size(), 1U) << value;
    EXPECT_NE(texts[0].find("is not a whole number from 1 to 10"), std::string::npos) << texts[0];
  }
  EXPECT_EQ(problems_of(R"({"a":1.5})", read), Texts{"line 1: it.a: a number is not a whole number from 1 to 10"});
  EXPECT_EQ(problems_of(R"({"a":"5"})", read), Texts{"line 1: it.a: '5' is not a whole number from 1 to 10"});
  for (const std::string value : {"1", "10"}) {
    EXPECT_EQ(problems_of(R"({"a":)" + value + "}",
                          [](ObjectReader& in) { (void)in.integer("a", 3U, {.min = 1, .max = 10}); }),
              Texts{});
  }
  EXPECT_EQ(problems_of(R"({"a":4294967296})", [](ObjectReader& in) { (void)in.integer("a", 0U); }).size(), 1U);
  EXPECT_EQ(problems_of(R"({"a":-2147483648})", [](ObjectReader& in) { EXPECT_EQ(in.integer("a", 0), INT32_MIN); }),
            Texts{});
}

TEST(ObjectReader, HoldsTheBoundsOfQuantities) {
  EXPECT_EQ(
      problems_of(R"({"a":"5 apples"})", [](ObjectReader& in) { EXPECT_EQ(in.bytes("a", 1), 1U); }),
      Texts{"line 1: it.a: '5 apples' is not a size; expected a number with an optional unit, for example 512Mi, 1G "
            "or 4096"});
  EXPECT_EQ(
      problems_of(R"({"a":512})", [](ObjectReader& in) { (void)in.bytes("a", 1, {.min = 1 << 20, .max = 1 << 30}); }),
      Texts{"line 1: it.a: '512' is out of bounds; expected 1Mi to 1Gi"});
  EXPECT_EQ(problems_of(R"({"a":[]})", [](ObjectReader& in) { (void)in.bytes("a", 1); }),
            Texts{"line 1: it.a: must be a size such as 512Mi, is an array"});
  EXPECT_EQ(
      problems_of(R"({"a":"3000"})", [](ObjectReader& in) { (void)in.millicores("a", 1, {.min = 1, .max = 2000}); }),
      Texts{"line 1: it.a: '3000' is out of bounds; expected 1m to 2"});
  EXPECT_EQ(problems_of(R"({"a":true})", [](ObjectReader& in) { (void)in.millicores("a", 1); }),
            Texts{"line 1: it.a: must be an amount of cpu such as 0.5 or 500m, is true"});
  EXPECT_EQ(problems_of(R"({"a":"2s"})",
                        [](ObjectReader& in) {
                          EXPECT_EQ(in.duration("a", milliseconds(7), {.min = milliseconds(0), .max = seconds(1)}),
                                    milliseconds(7));
                        }),
            Texts{"line 1: it.a: '2s' is out of bounds; expected 0 to 1s"});
  EXPECT_EQ(
      problems_of(R"({"a":30})", [](ObjectReader& in) { (void)in.duration("a", milliseconds(7)); }),
      Texts{"line 1: it.a: '30' is not a duration; expected numbers with ms, s, m, h or d, for example 90s or 1h30m"});
}

TEST(ObjectReader, NamesTheNearestKnownField) {
  const auto read = [](ObjectReader& in) {
    (void)in.find("memory");
    (void)in.find("timeout");
    in.refuse_unknown();
  };
  EXPECT_EQ(problems_of("{\"memory\":1,\n\"memroy\":2,\n\"zebra\":3}", read),
            (Texts{"line 2: it.memroy: unknown field; did you mean 'memory'?", "line 3: it.zebra: unknown field"}));
}

TEST(Diagnostics, TellsOneProblemInOneLineAndMoreInAList) {
  Diagnostics problems;
  problems.add(3, "a.b", "is wrong");
  EXPECT_EQ(problems.to_error("f.yaml").message, "f.yaml: line 3: a.b: is wrong");
  EXPECT_EQ(problems.to_error("f.yaml").code, Errc::invalid_argument);
  problems.add(0, "", "is empty");
  EXPECT_EQ(problems.to_error("f.yaml").message, "f.yaml: 2 problems\n  line 3: a.b: is wrong\n  is empty");
}

TEST(Diagnostics, KeepsNoMoreThanItsBound) {
  Diagnostics problems;
  for (std::size_t i = 0; i < kDiagnosticsMax + 3; ++i) problems.add(1, "p", "t");
  EXPECT_EQ(problems.items().size(), kDiagnosticsMax);
  EXPECT_EQ(problems.count(), kDiagnosticsMax + 3);
  const std::string message = problems.to_error("f").message;
  EXPECT_EQ(message.substr(0, 14), "f: 53 problems");
  EXPECT_TRUE(message.ends_with("\n  and 3 more"));
}

TEST(NearestName, ForgivesTwoEdits) {
  constexpr std::array<std::string_view, 4> kNames{"name", "memory", "retries", "cpu"};
  EXPECT_EQ(nearest_name("memory", kNames), "memory");
  EXPECT_EQ(nearest_name("memroy", kNames), "memory");
  EXPECT_EQ(nearest_name("mem", kNames), std::nullopt);
  EXPECT_EQ(nearest_name("retry", kNames), std::nullopt);
  EXPECT_EQ(nearest_name("retrys", kNames), "retries");
  EXPECT_EQ(nearest_name("nmae", kNames), "name");
  EXPECT_EQ(nearest_name("cpus", kNames), "cpu");
  EXPECT_EQ(nearest_name("", kNames), std::nullopt);
  EXPECT_EQ(nearest_name("x", kNames), std::nullopt);
  EXPECT_EQ(nearest_name(std::string(10'000, 'n'), kNames), std::nullopt);
}

}  // namespace
}  // namespace millrace
