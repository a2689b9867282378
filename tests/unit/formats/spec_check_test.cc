#include "formats/spec_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace {
namespace {

using testing::HasSubstr;

FunctionSpec function(std::string name, const std::vector<std::string>& inputs,
                      const std::vector<std::string>& outputs) {
  FunctionSpec spec;
  spec.name = std::move(name);
  for (const auto& path : inputs) spec.inputs.push_back({.storage = {.path = path}});
  for (const auto& path : outputs) spec.outputs.push_back({.storage = {.path = path}, .prefix = {}, .suffix = {}});
  return spec;
}

std::string refusal(const std::vector<FunctionSpec>& functions) {
  const auto checked = check_no_loops(functions);
  if (checked) return "accepted";
  EXPECT_EQ(checked.error().code, Errc::invalid_argument);
  return checked.error().message;
}

TEST(CheckNoLoops, AcceptsChains) {
  EXPECT_EQ(refusal({}), "accepted");
  EXPECT_EQ(refusal({function("a", {}, {}), function("b", {"x"}, {}), function("c", {}, {"x"})}), "accepted");
  EXPECT_EQ(refusal({function("split", {"videos"}, {"images"}), function("detect", {"images"}, {"results"}),
                     function("count", {"results", "images"}, {"counts"})}),
            "accepted");
}

TEST(CheckNoLoops, FindsAFunctionThatFeedsItself) {
  EXPECT_THAT(refusal({function("f", {"pics"}, {"pics"})}), HasSubstr("(f: pics -> f)"));
  EXPECT_THAT(refusal({function("f", {"pics"}, {"pics/out"})}), HasSubstr("(f: pics/out -> f)"));
  EXPECT_THAT(refusal({function("f", {"pics/a"}, {"x", "pics/a/b/c"})}), HasSubstr("(f: pics/a/b/c -> f)"));
}

TEST(CheckNoLoops, KnowsWhereAFolderEnds) {
  EXPECT_EQ(refusal({function("f", {"pics/in"}, {"pics/in2"})}), "accepted");
  EXPECT_EQ(refusal({function("f", {"pics/in"}, {"pics"})}), "accepted") << "above, not beneath";
  EXPECT_EQ(refusal({function("f", {"pics/in"}, {"pics/out"})}), "accepted");
  EXPECT_EQ(refusal({function("f", {"pic"}, {"pics"})}), "accepted");
}

TEST(CheckNoLoops, ShowsTheCircleThroughOthers) {
  EXPECT_EQ(refusal({function("thumbs", {"pics"}, {"pics/out"}), function("loops", {"pics/out"}, {"elsewhere"})}),
            "results would start functions again without end (thumbs: pics/out -> thumbs); write them outside the "
            "folders that are watched and publish them on another topic, or set recursion.max_depth on one of these");
  EXPECT_THAT(refusal({function("other", {"x"}, {"y"}), function("thumbs", {"pics/in"}, {"small"}),
                       function("loops", {"small"}, {"pics/in/again"}), function("end", {"y"}, {})}),
              HasSubstr("(thumbs: small -> loops -> pics/in/again -> thumbs)"));
}

TEST(CheckNoLoops, ShowsTheShortestCircle) {
  EXPECT_THAT(refusal({function("a", {"a"}, {"b", "c"}), function("b", {"b"}, {"c"}), function("c", {"c"}, {"a"})}),
              HasSubstr("(a: c -> c -> a -> a)"));
}

TEST(CheckNoLoops, FiltersOfAnOutputDoNotHelp) {
  auto f = function("f", {"pics"}, {"pics/out"});
  f.outputs[0].suffix = {".png"};
  EXPECT_THAT(refusal({f}), HasSubstr("f: pics/out -> f"));
}

TEST(CheckNoLoops, ProvidersAreDifferentPlaces) {
  auto f = function("f", {"pics"}, {"pics"});
  f.outputs[0].storage.provider = "s3.other";
  EXPECT_EQ(refusal({f}), "accepted");
}

TEST(CheckNoLoops, RecursionOnOneFunctionAllowsItsCircles) {
  auto a = function("a", {"a"}, {"b"});
  auto b = function("b", {"b"}, {"a"});
  EXPECT_NE(refusal({a, b}), "accepted");
  b.recursion_depth_max = 3;
  EXPECT_EQ(refusal({a, b}), "accepted");
  auto self = function("self", {"s"}, {"s"});
  self.recursion_depth_max = 1;
  EXPECT_EQ(refusal({self}), "accepted");
  EXPECT_THAT(refusal({a, b, function("c", {"a"}, {"a/x"})}), HasSubstr("(c: a/x -> c)"))
      << "a circle that does not lead through it stays refused";
}

TEST(CheckNoLoops, StaysQuickWithManyFunctions) {
  std::vector<FunctionSpec> functions;
  for (int i = 0; i < 3000; ++i) {
    functions.push_back(
        function("f" + std::to_string(i), {"b" + std::to_string(i)}, {"b" + std::to_string(i + 1) + "/x/y"}));
  }
  EXPECT_EQ(refusal(functions), "accepted");
  functions.push_back(function("last", {"b3000"}, {"b2998"}));
  EXPECT_THAT(refusal(functions), HasSubstr("(f2998: b2999/x/y -> f2999 -> b3000/x/y -> last -> b2998 -> f2998)"));
}

}  // namespace
}  // namespace millrace
