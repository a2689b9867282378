#include "formats/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace millrace {
namespace {

using testing::HasSubstr;

Json parsed(std::string_view text, const YamlOptions& options = {}) {
  Diagnostics problems;
  const auto json = parse_yaml(text, options, problems);
  EXPECT_TRUE(json) << problems.to_error("yaml").message;
  return json.value_or(Json());
}

std::string dumped(std::string_view text, const YamlOptions& options = {}) {
  return parsed(text, options).dump();
}

Diagnostic refusal(std::string_view text) {
  Diagnostics problems;
  const auto json = parse_yaml(text, {}, problems);
  if (json) return {.line = 0, .path = "", .text = "accepted: " + json->dump().substr(0, 200)};
  EXPECT_EQ(problems.items().size(), 1U);
  return problems.items().front();
}

TEST(Yaml, ReadsMapsListsAndScalars) {
  EXPECT_EQ(dumped("a: 1\nb:\n  - x\n  - {c: [true, null]}\n"), R"({"a":1,"b":["x",{"c":[true,null]}]})");
  EXPECT_EQ(dumped("text: |\n  one\n  two\nfolded: >-\n  three\n  four\n"),
            R"({"text":"one\ntwo\n","folded":"three four"})");
  EXPECT_EQ(dumped(""), "null");
  EXPECT_EQ(dumped("# only a comment\n"), "null");
  EXPECT_EQ(dumped("--- \na: 1\n...\n"), R"({"a":1})");
}

TEST(Yaml, ScalarsHaveTheTypesOfTheCoreSchema) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"true", "true"},
      {"True", "true"},
      {"FALSE", "false"},
      {"yes", R"("yes")"},
      {"off", R"("off")"},
      {"null", "null"},
      {"~", "null"},
      {"''", R"("")"},
      {"12", "12"},
      {"-12", "-12"},
      {"+12", "12"},
      {"007", "7"},
      {"0x1F", "31"},
      {"0o17", "15"},
      {"1.5", "1.5"},
      {"1.", "1.0"},
      {".5", "0.5"},
      {"-1e3", "-1000.0"},
      {"+.5", "0.5"},
      {"1e999", R"("1e999")"},
      {".inf", R"(".inf")"},
      {".nan", R"(".nan")"},
      {"1_000", R"("1_000")"},
      {"1:30", R"("1:30")"},
      {"12 apples", R"("12 apples")"},
      {"\"12\"", R"("12")"},
      {"'true'", R"("true")"},
      {"2026-11-21", R"("2026-11-21")"},
      {"-", R"("-")"},
      {".", R"(".")"},
      {"e", R"("e")"},
      {"0x", R"("0x")"},
      {"0x-1", R"("0x-1")"},
      {"+-1", R"("+-1")"},
      {"9223372036854775807", "9223372036854775807"},
      {"18446744073709551615", "18446744073709551615"},
      {"18446744073709551616", "18446744073709551616.0"},
      {"!!str 12", R"("12")"},
      {"!!int 12", "12"},
      {"!!str", R"("")"},
  };
  for (const auto& [text, json] : cases) EXPECT_EQ(dumped("[" + text + "]"), "[" + json + "]") << text;
}

TEST(Yaml, ReadsWhatIsFoundInRealFiles) {
  EXPECT_EQ(dumped("log_level: CRITICAL\t\t\nmemory: 512\n"), R"({"log_level":"CRITICAL","memory":512})");
  EXPECT_EQ(dumped("input:\noutput: null\nvo: \"\"\nimage: docker://repo/img\n"),
            R"({"input":null,"output":null,"vo":"","image":"docker://repo/img"})");
  EXPECT_EQ(dumped("a: 1\r\nb: 2\r\n"), R"({"a":1,"b":2})");
  EXPECT_EQ(dumped("\xef\xbb\xbf"
                   "a: k\xc3\xbc\n"),
            "{\"a\":\"k\xc3\xbc\"}");
}

TEST(Yaml, JsonIsReadAsJson) {
  EXPECT_EQ(dumped("{\n\t\"a\": [1, 2.5, \"\\ud83d\\ude00\\/\"],\n\t\"b\": null\n}\n"),
            "{\"a\":[1,2.5,\"\xf0\x9f\x98\x80/\"],\"b\":null}");
  EXPECT_EQ(dumped("{a: 1, b: [x, y]}"), R"({"a":1,"b":["x","y"]})") << "YAML's own braces still work";
}

TEST(Yaml, KeepsTextWhereAskedTo) {
  const YamlOptions options{.verbatim = {"environment"}};
  EXPECT_EQ(dumped("a: 1.10\nenvironment:\n  A: 1.10\n  B: 007\n  C: yes\n  D:\n  E: {F: 0x10}\n  G: [1.0]\n", options),
            R"({"a":1.1,"environment":{"A":"1.10","B":"007","C":"yes","D":null,"E":{"F":"0x10"},"G":["1.0"]}})");
  EXPECT_EQ(dumped("base: &b {A: 1.10}\nenvironment:\n  <<: *b\n", options),
            R"({"base":{"A":1.1},"environment":{"A":"1.10"}})")
      << "what counts is where an alias ends up";
}

TEST(Yaml, ReplacesAliasesAndMerges) {
  EXPECT_EQ(dumped("a: &x [1, two]\nb: *x\nc: &y z\nd: *y\n"), R"({"a":[1,"two"],"b":[1,"two"],"c":"z","d":"z"})");
  EXPECT_EQ(dumped("a: &a {k: 1, l: 2}\nb: &b {l: 3, m: 4}\nc:\n  <<: [*a, *b]\n  k: 0\n"),
            R"({"a":{"k":1,"l":2},"b":{"l":3,"m":4},"c":{"k":0,"l":2,"m":4}})");
  EXPECT_EQ(dumped("a: &x 1\nb: &x 2\nc: *x\n"), R"({"a":1,"b":2,"c":2})");
  EXPECT_EQ(dumped("\"<<\": 1\n"), R"({"<<":1})") << "in quotes it is a key like any other";
}

TEST(Yaml, KeepsTheLines) {
  const Json json = parsed("a: 1\nb:\n  - x\n  -\n    c: 2\n");
  EXPECT_EQ(json.line(), 1U);
  EXPECT_EQ(json.find("a")->line(), 1U);
  EXPECT_EQ(json.members()[1].line, 2U);
  EXPECT_EQ(json.find("b")->line(), 3U);
  EXPECT_EQ(json.find("b")->items()[0].line(), 3U);
  EXPECT_EQ(json.find("b")->items()[1].find("c")->line(), 5U);
}

TEST(Yaml, NamesLineAndCause) {
  EXPECT_EQ(refusal("a: 1\nb: [1, 2\nc: 3\n").line, 3U);
  EXPECT_THAT(refusal("a: 1\n b: 2\n").text, HasSubstr("not valid YAML: "));
  EXPECT_EQ(refusal("a: *nothing\n").line, 1U);
  EXPECT_EQ(refusal("a: 1\nb: 2\na: 3\n"), (Diagnostic{.line = 3, .path = "", .text = "the key 'a' is there twice"}));
  EXPECT_EQ(refusal("a: 1\n---\nb: 2\n").text, "a second document begins; expected one");
  EXPECT_EQ(refusal("a: !mine 1\n").text, "the tag '!mine' is not supported");
  EXPECT_EQ(refusal("a: !!binary aGk=\n").text, "the tag 'tag:yaml.org,2002:binary' is not supported");
  EXPECT_EQ(refusal("a: 1\n? [x]\n: 2\n").text, "the key of a map must be a text");
  EXPECT_EQ(refusal("a: 1\n~: 2\n").text, "the key of a map must be a text");
  EXPECT_EQ(refusal("a: &x [*x]\n").text, "an alias stands inside of what it names, or names a key");
  EXPECT_EQ(refusal("<<: 1\n").text, "'<<' merges a map or a list of maps");
  EXPECT_EQ(refusal("<<: [1]\n").text, "'<<' merges a map or a list of maps");
  EXPECT_EQ(refusal("a: \xff\n").text, "the document is not valid UTF-8");
}

TEST(Yaml, BoundsTheSize) {
  const std::string comment(kYamlBytesMax - 4, '#');
  EXPECT_EQ(dumped("a: 1"), R"({"a":1})");
  EXPECT_EQ(dumped("a: 1\n" + comment.substr(1)).size(), 7U);
  EXPECT_THAT(refusal("a: 1\n" + comment).text, HasSubstr("at most 8388608 are accepted"));
}

TEST(Yaml, BoundsTheDepth) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + "1" + std::string(depth, ']'); };
  EXPECT_EQ(dumped(nested(kJsonDepthMax)), nested(kJsonDepthMax));
  EXPECT_EQ(refusal(nested(kJsonDepthMax + 1)).text, "nested deeper than 64 levels");
  EXPECT_THAT(refusal(std::string(500'000, '[')).text, testing::Not(HasSubstr("accepted")));
  EXPECT_THAT(refusal(std::string(500'000, '{')).text, testing::Not(HasSubstr("accepted")));
  EXPECT_EQ(refusal("a: &a " + nested(40) + "\nb: " + std::string(30, '[') + "*a" + std::string(30, ']')).text,
            "nested deeper than 64 levels")
      << "an alias is as deep as what it stands for";
}

TEST(Yaml, BoundsWhatAliasesExpandTo) {
  std::string laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char name = 'b'; name < 'k'; ++name) {
    laughs += std::string(1, name) + ": &" + name + " [";
    for (int i = 0; i < 10; ++i) laughs += std::string(i == 0 ? "*" : ", *") + static_cast<char>(name - 1);
    laughs += "]\n";
  }
  EXPECT_THAT(refusal(laughs).text, HasSubstr("the document is too large"));

  std::string texts = "a: &a " + std::string(500'000, 'x') + "\nb: [";
  for (int i = 0; i < 1000; ++i) texts += "*a, ";
  EXPECT_THAT(refusal(texts + "]\n").text, HasSubstr("the document is too large"));

  std::string anchors;  // each level keeps a copy of all below it
  for (int i = 0; i < 60; ++i) anchors += "&a" + std::to_string(i) + " [";
  for (int i = 0; i < 100'000; ++i) anchors += "1,";
  EXPECT_THAT(refusal(anchors + std::string(60, ']')).text, HasSubstr("the document is too large"));
}

TEST(Yaml, SurvivesAnyChangedByte) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string good =
      "functions:\n  millrace:\n  - &f\n    name: a\n    script: |\n      #!/bin/sh\n    input: [x/y, {path: 'z'}]\n"
      "  - <<: *f\n    name: \"b\"\n    environment: {A: 1.0, B: ~}\n";
  const std::string_view alphabet = "\n :-[]{}&*!|>'\"%#?,\t<~a1\xc3\x00";
  for (int i = 0; i < 3000; ++i) {
    std::string text = good;
    for (std::uint64_t n = random() % 4 + 1; n > 0; --n)
      text[random() % text.size()] = alphabet[random() % alphabet.size()];
    Diagnostics problems;
    const auto json = parse_yaml(text, {}, problems);
    ASSERT_EQ(json.has_value(), problems.empty()) << text;
  }
}

}  // namespace
}  // namespace millrace
