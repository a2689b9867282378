#include "gateway/router.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {
namespace {

Task<void> nothing(Exchange&) {
  co_return;
}

constexpr std::array kTable{
    Route{"GET", "/health", nothing, "", true},
    Route{"GET", "/functions", nothing},
    Route{"POST", "/functions", nothing},
    Route{"GET", "/functions/{name}", nothing},
    Route{"POST", "/functions/{name}/invoke", nothing},
    Route{"GET", "/buckets/{bucket}/objects", nothing},
    Route{"GET", "/buckets/{bucket}/objects/{key*}", nothing},
    Route{"PUT", "/buckets/{bucket}/objects/{key*}", nothing},
};

Result<RouteMatch> match(std::string_view method, std::string_view path) {
  return match_route(kTable, method, path);
}

std::string pattern(std::string_view method, std::string_view path) {
  const auto found = match(method, path);
  if (!found) return "error " + std::string(name_of(found.error().code));
  if (found->route != nullptr) return std::string(found->route->pattern);
  return found->allowed.empty() ? "nothing" : "other method";
}

TEST(Router, PathAndMethodChooseTheRoute) {
  EXPECT_EQ(match("GET", "/functions")->route, &kTable[1]);
  EXPECT_EQ(match("POST", "/functions")->route, &kTable[2]);
  EXPECT_TRUE(match("GET", "/health")->route->open);
  EXPECT_FALSE(match("GET", "/functions")->route->open);
}

TEST(Router, HeadIsServedByGet) {
  EXPECT_EQ(pattern("HEAD", "/health"), "/health");
  EXPECT_EQ(pattern("HEAD", "/functions/f/invoke"), "other method");
}

TEST(Router, AKnownPathWithAnotherMethodIsToldApartFromAnUnknownPath) {
  EXPECT_EQ(pattern("DELETE", "/functions"), "other method");
  EXPECT_EQ(pattern("POST", "/health"), "other method");
  EXPECT_EQ(pattern("get", "/health"), "other method") << "methods are case-sensitive";
  EXPECT_EQ(pattern("GET", "/nothing"), "nothing");
  EXPECT_EQ(pattern("GET", "/functions/f/other"), "nothing");
  EXPECT_EQ(pattern("GET", "/functions/f/invoke/more"), "nothing");
  EXPECT_EQ(pattern("GET", "/"), "nothing");
}

TEST(Router, AnotherMethodIsToldWhichThereAre) {
  EXPECT_EQ(match("DELETE", "/functions")->allowed, "GET, HEAD, POST");
  EXPECT_EQ(match("GET", "/functions/f/invoke")->allowed, "POST");
  EXPECT_EQ(match("POST", "/buckets/b/objects/k")->allowed, "GET, HEAD, PUT");
  EXPECT_EQ(match("GET", "/functions")->allowed, "") << "there is nothing to tell";
  EXPECT_EQ(match("GET", "/nothing")->allowed, "");
}

TEST(Router, PathsAreCaseSensitiveAndWhole) {
  EXPECT_EQ(pattern("GET", "/Health"), "nothing");
  EXPECT_EQ(pattern("GET", "/healthy"), "nothing");
  EXPECT_EQ(pattern("GET", "/heal"), "nothing");
}

TEST(Router, AParameterTakesOneDecodedPart) {
  const auto found = match("GET", "/functions/a%20b%2Fc");
  ASSERT_TRUE(found && found->route != nullptr);
  EXPECT_EQ(found->params, (PathParams{{"name", "a b/c"}})) << "an encoded slash stays inside its part";
  EXPECT_EQ(match("POST", "/functions/f/invoke")->params, (PathParams{{"name", "f"}}));
}

TEST(Router, AParameterIsNeverEmpty) {
  EXPECT_EQ(pattern("POST", "/functions//invoke"), "nothing");
  EXPECT_EQ(pattern("GET", "/functions//"), "nothing");
  EXPECT_EQ(pattern("GET", "/buckets//objects/k"), "nothing");
}

TEST(Router, TheLastParameterTakesAllThatIsLeft) {
  const auto found = match("PUT", "/buckets/b/objects/deep/er/a%20b.txt");
  ASSERT_TRUE(found && found->route != nullptr);
  EXPECT_EQ(found->params, (PathParams{{"bucket", "b"}, {"key", "deep/er/a b.txt"}}));
  EXPECT_EQ(match("GET", "/buckets/b/objects/k")->route, &kTable[6]);
  EXPECT_EQ(match("GET", "/buckets/b/objects")->route, &kTable[5]);
}

TEST(Router, ASlashAtTheEndMakesNoOtherPath) {
  EXPECT_EQ(pattern("GET", "/health/"), "/health");
  EXPECT_EQ(pattern("GET", "/buckets/b/objects/"), "/buckets/{bucket}/objects");
  EXPECT_EQ(pattern("PUT", "/buckets/b/objects/"), "other method") << "an object has a name";
  EXPECT_EQ(pattern("GET", "/health//"), "nothing");
}

// What the decoded text means is for the one who uses it to check; here it only must arrive as it is.
TEST(Router, HostileKeysArriveUnchanged) {
  const auto key = [](std::string_view path) { return match("GET", path)->params.find("key")->second; };
  EXPECT_EQ(key("/buckets/b/objects/../../etc/passwd"), "../../etc/passwd");
  EXPECT_EQ(key("/buckets/b/objects/%2e%2e/x"), "../x");
  EXPECT_EQ(key("/buckets/b/objects//etc/passwd"), "/etc/passwd");
  EXPECT_EQ(key("/buckets/b/objects/a//b"), "a//b");
  EXPECT_EQ(key("/buckets/b/objects/%252e"), "%2e") << "decoded once";
  EXPECT_EQ(key("/buckets/b/objects/%ff%fe"), "\xff\xfe");
  EXPECT_EQ(key("/buckets/b/objects/a+b"), "a+b") << "plus is plus in a path";
  EXPECT_EQ(key("/buckets/b/objects/a%3Fb%23c"), "a?b#c");
}

TEST(Router, DotPartsAreNoWayToAnotherRoute) {
  EXPECT_EQ(pattern("GET", "/functions/../health"), "nothing");
  EXPECT_EQ(pattern("GET", "/./health"), "nothing");
  EXPECT_EQ(pattern("GET", "//health"), "nothing");
  EXPECT_EQ(pattern("GET", "/%68ealth"), "nothing") << "fixed parts are compared as they were sent";
}

TEST(Router, ABrokenEscapeOrAnEncodedZeroByteIsAnInvalidArgument) {
  for (const char* path : {"/functions/%", "/functions/%4", "/functions/%zz", "/functions/%4x", "/functions/a%00b",
                           "/functions/%00", "/buckets/b/objects/a/%", "/buckets/b/objects/%00"}) {
    EXPECT_EQ(pattern("GET", path), "error invalid_argument") << path;
  }
}

TEST(Router, WhatIsNoAbsolutePathMatchesNothing) {
  for (const char* path : {"", "*", "health", "http://host/health", "?", "\\health"}) {
    EXPECT_EQ(pattern("OPTIONS", path), "nothing") << path;
    EXPECT_EQ(pattern("GET", path), "nothing") << path;
  }
}

TEST(Router, LongAndDeepPathsAreNoTrouble) {
  const std::string deep = "/buckets/b/objects" + [] {
    std::string parts;
    for (int i = 0; i < 100'000; ++i) parts += "/a";
    return parts;
  }();
  EXPECT_EQ(pattern("GET", deep), "/buckets/{bucket}/objects/{key*}");
  EXPECT_EQ(pattern("GET", "/" + std::string(1'000'000, '/')), "nothing");
  EXPECT_EQ(match("GET", "/functions/" + std::string(1'000'000, 'a'))->params.at("name").size(), 1'000'000U);
}

std::string refusal(std::string_view parameters, const HttpQuery& query) {
  const auto checked = check_query(Route{"GET", "/things", nothing, parameters}, query);
  if (checked) return "";
  EXPECT_EQ(checked.error().code, Errc::invalid_argument);
  return checked.error().message;
}

TEST(Router, AParameterThatTheRouteDoesNotTakeIsNamedWithThoseThatItTakes) {
  EXPECT_EQ(refusal("limit before now?", {}), "");
  EXPECT_EQ(refusal("limit before now?", {{"before", "x"}, {"now", ""}, {"limit", ""}}), "");
  EXPECT_EQ(refusal("limit before now?", {{"limit", "1"}, {"limt", "5"}}),
            "query parameter 'limt' is unknown; did you mean 'limit'? GET /things takes limit, before, now");
  EXPECT_EQ(refusal("limit", {{"Limit", "1"}}),
            "query parameter 'Limit' is unknown; did you mean 'limit'? GET /things takes limit");
  EXPECT_EQ(refusal("", {{"verbose", ""}}), "query parameter 'verbose' is unknown; GET /things takes none");
  EXPECT_NE(refusal("now?", {{"now?", ""}}), "");
  EXPECT_LT(refusal("limit", {{std::string(5000, 'x'), ""}}).size(), 200U);
}

TEST(Router, AParameterThatIsThereTwiceIsRefused) {
  EXPECT_EQ(refusal("limit", {{"limit", "1"}, {"limit", "1"}}), "query parameter 'limit' is there twice");
}

TEST(Router, AFlagIsYesOrNo) {
  for (const char* value : {"", "yes", "true", "1", "no", "false", "0"})
    EXPECT_EQ(refusal("now?", {{"now", value}}), "");
  for (const char* value : {"ture", "YES", "2", " "}) {
    EXPECT_EQ(refusal("now?", {{"now", value}}), "query parameter 'now' is '" + std::string(value) +
                                                     "'; expected yes, true, 1 or nothing, or no, false, 0");
  }
}

TEST(Router, AnEmptyTableMatchesNothing) {
  const auto found = match_route({}, "GET", "/");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->route, nullptr);
  EXPECT_TRUE(found->allowed.empty());
}

TEST(RouteTable, OnlyHealthIsOpenToStrangers) {
  std::vector<std::string_view> open;
  for (const auto& route : route_table()) {
    if (route.open) open.push_back(route.pattern);
  }
  EXPECT_EQ(open, (std::vector<std::string_view>{"/health", "/health/live"}));
}

TEST(RouteTable, EveryRouteCanBeReached) {
  std::set<std::string> known;
  for (const auto& route : route_table()) {
    EXPECT_TRUE(known.insert(std::string(route.method) + " " + std::string(route.pattern)).second) << route.pattern;
    ASSERT_TRUE(route.pattern.starts_with('/')) << route.pattern;
    ASSERT_NE(route.function, nullptr) << route.pattern;
    std::string path(route.pattern);
    for (auto open = path.find('{'); open != std::string::npos; open = path.find('{')) {
      path.replace(open, path.find('}') - open + 1, "x");
    }
    const auto found = match_route(route_table(), route.method, path);
    ASSERT_TRUE(found) << path;
    EXPECT_EQ(found->route, &route) << path << " is taken by another route";
  }
}

}  // namespace
}  // namespace millrace
