#include "formats/topic_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "formats/media_type.h"
#include "formats/spec_check.h"
#include "formats/topic_name.h"
#include "tests/unit/formats/fdl_fixture.h"

namespace millrace::test {
namespace {

using testing::HasSubstr;

std::string problem(const std::string& fields) {
  const auto problems = problems_of(fdl(fields));
  return problems.empty() ? "accepted" : problems.front().substr(problems.front().find("].") + 2);
}

TEST(TopicsOfAFunction, AreNamesOrObjects) {
  const auto f = one("topics: [orders, {name: returns, from: new}, {name: stock.north, from: all}]");
  ASSERT_EQ(f.topics.size(), 3U);
  EXPECT_EQ(f.topics[0], (TopicInputSpec{.topic = "orders", .from_start = true}));
  EXPECT_EQ(f.topics[1], (TopicInputSpec{.topic = "returns", .from_start = false}));
  EXPECT_EQ(f.topics[2], (TopicInputSpec{.topic = "stock.north", .from_start = true}));
  EXPECT_EQ(one("topics: orders").topics.front().topic, "orders");
  EXPECT_TRUE(one("topics: []").topics.empty());
}

TEST(TopicsOfAFunction, AreRefusedWithTheirPlace) {
  EXPECT_THAT(problem("topics: [Orders]"), HasSubstr("topics[0]: 'Orders' is not a topic's name; expected 1 to 200"));
  EXPECT_EQ(problem("topics: [fn.f]"), "topics[0]: 'fn.f' is the work topic of a function, which is ours");
  EXPECT_EQ(problem("topics: [a, a]"), "topics: 'a' is there twice");
  EXPECT_EQ(problem("topics: [{from: new}]"), "topics[0].name: is missing; a text is required");
  EXPECT_EQ(problem("topics: [{name: a, from: here}]"), "topics[0].from: 'here' is not one of all, new");
  EXPECT_EQ(problem("topics: [{name: a, filter: x}]"), "topics[0].filter: unknown field");
  EXPECT_EQ(problem("topics: [3]"), "topics[0]: must be an object, is 3");
  EXPECT_EQ(problem("topics: 3"), "topics: must be an array, is 3");
  std::string many = "topics: [t0";
  for (std::size_t i = 1; i <= kTopicsOfFunctionMax; ++i) many += ", t" + std::to_string(i);
  EXPECT_EQ(problem(many + "]"), "topics: has more than 32 items");
}

TEST(TopicOutputs, StandBesidePaths) {
  const auto f =
      one("output: [kept, {topic: shouted}, {path: more}, {topic: found, prefix: [a], suffix: [.json, .txt]}, "
          "{topic: told, mode: structured}, {topic: said, mode: binary}]");
  ASSERT_EQ(f.outputs.size(), 2U);
  EXPECT_EQ(f.outputs[1].storage.path, "more");
  ASSERT_EQ(f.topic_outputs.size(), 4U);
  EXPECT_EQ(f.topic_outputs[0], (TopicOutputSpec{.topic = "shouted", .prefix = {}, .suffix = {}}));
  EXPECT_EQ(f.topic_outputs[1], (TopicOutputSpec{.topic = "found", .prefix = {"a"}, .suffix = {".json", ".txt"}}));
  EXPECT_TRUE(f.topic_outputs[2].structured);
  EXPECT_FALSE(f.topic_outputs[3].structured);
}

TEST(TopicOutputs, AreRefusedWithTheirPlace) {
  EXPECT_THAT(problem("output: [{topic: a b}]"), HasSubstr("output[0].topic: 'a b' is not a topic's name"));
  EXPECT_EQ(problem("output: [{topic: a, path: b}]"),
            "output[0].path: an output is either a topic or a path: write two items");
  EXPECT_EQ(problem("output: [{topic: a, key: b}]"), "output[0].key: unknown field");
  EXPECT_EQ(problem("output: [{topic: a, mode: xml}]"), "output[0].mode: 'xml' is not one of binary, structured");
  EXPECT_EQ(problem("output: [{path: a, mode: structured}]"), "output[0].mode: unknown field");
  EXPECT_THAT(problem("input: [{topic: a}]"), HasSubstr("input[0].path: is missing"));
}

TEST(TopicSpec, SurvivesTheStateStore) {
  const auto f =
      one("topics: [orders, {name: returns, from: new}]\noutput: [{topic: shouted, suffix: [.json]}, "
          "{topic: told, mode: structured}, kept]");
  const auto back = function_from_json(to_full_json(f));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, f);
}

FunctionSpec through(const std::string& name, const std::string& from, const std::string& to) {
  FunctionSpec spec;
  spec.name = name;
  if (!from.empty()) spec.topics.push_back({.topic = from});
  if (!to.empty()) spec.topic_outputs.push_back({.topic = to, .prefix = {}, .suffix = {}});
  return spec;
}

std::string refusal(const std::vector<FunctionSpec>& functions) {
  const auto checked = check_no_loops(functions);
  return checked ? "accepted" : checked.error().message;
}

TEST(CheckNoLoopsOfTopics, ShowsTheCircle) {
  EXPECT_THAT(refusal({through("f", "a", "a")}), HasSubstr("(f: topic a -> f)"));
  EXPECT_THAT(refusal({through("f", "a", "b"), through("g", "b", "a")}),
              HasSubstr("(f: topic b -> g -> topic a -> f)"));
  EXPECT_EQ(refusal({through("f", "a", "b"), through("g", "b", "c")}), "accepted");
}

TEST(CheckNoLoopsOfTopics, GoesThroughBucketsToo) {
  auto f = through("f", "a", "");
  f.outputs.push_back({.storage = {.path = "files"}, .prefix = {}, .suffix = {}});
  auto g = through("g", "", "a");
  g.inputs.push_back({.storage = {.path = "files"}});
  EXPECT_THAT(refusal({f, g}), HasSubstr("(f: files -> g -> topic a -> f)"));
  g.recursion_depth_max = 2;
  EXPECT_EQ(refusal({f, g}), "accepted");
}

TEST(CheckNoLoopsOfTopics, ATopicIsNoBucketOfItsName) {
  auto f = through("f", "a", "");
  f.outputs.push_back({.storage = {.path = "a"}, .prefix = {}, .suffix = {}});
  EXPECT_EQ(refusal({f}), "accepted");
}

TEST(TopicName, UsersTopicsAreNotOurs) {
  EXPECT_TRUE(is_user_topic_name("orders"));
  EXPECT_TRUE(is_user_topic_name("fn"));
  EXPECT_FALSE(is_user_topic_name("fn.x"));
  EXPECT_FALSE(is_user_topic_name(""));
  EXPECT_FALSE(is_user_topic_name(".x"));
  EXPECT_TRUE(is_topic_name(std::string(200, 'x')));
  EXPECT_FALSE(is_topic_name(std::string(201, 'x')));
}

TEST(MediaType, IsGuessedByNameThenByContent) {
  EXPECT_EQ(guess_media_type("a/b.JPG", "{}"), "image/jpeg");
  EXPECT_EQ(guess_media_type("a.json", "not json"), "application/json");
  EXPECT_EQ(guess_media_type("", " {\"a\": 1}\n"), "application/json");
  EXPECT_EQ(guess_media_type("", "[1]"), "application/json");
  EXPECT_EQ(guess_media_type("", "{"), "text/plain; charset=utf-8");
  EXPECT_EQ(guess_media_type("", "1"), "text/plain; charset=utf-8") << "a number is a text first";
  EXPECT_EQ(guess_media_type("", ""), "text/plain; charset=utf-8");
  EXPECT_EQ(guess_media_type(".json", "x\xff"), "application/octet-stream") << "a name, no extension";
  EXPECT_EQ(guess_media_type("a.unknown", std::string_view("a\0b", 3)), "application/octet-stream");
}

TEST(MediaType, IsComparedWithoutCaseAndParameters) {
  EXPECT_TRUE(same_media_type("Application/JSON; charset=utf-8", "application/json"));
  EXPECT_FALSE(same_media_type("application/json+x", "application/json"));
  EXPECT_EQ(without_parameters(" a/b ;c"), "a/b");
  EXPECT_EQ(without_parameters(" ; "), "");
  EXPECT_TRUE(is_json_type("application/geo+json;x"));
  EXPECT_FALSE(is_json_type("application/jsonl"));
}

}  // namespace
}  // namespace millrace::test
