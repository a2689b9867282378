#include "runtime/launched/function_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/reserved_environment.h"

namespace millrace::launched {
namespace {

using testing::Contains;
using testing::Not;
using testing::StartsWith;

FunctionPaths paths(std::vector<std::string> inputs) {
  return {.script = "/s", .home = "/h", .input_directory = "/i", .output_directory = "/o", .inputs = std::move(inputs)};
}

TEST(FunctionEnvironment, PromisesThePathsOfTheContract) {
  const auto all = function_environment({}, paths({"a b.jpg", "second"}));
  for (const std::string expected :
       {"TMP_INPUT_DIR=/i", "TMP_OUTPUT_DIR=/o", "SCRIPT=/s", "INPUT_FILE_PATH=/i/a b.jpg", "INPUT_FILE=/i/a b.jpg",
        "FILE_NAME=a b.jpg", "HOME=/h", "TMPDIR=/h", "LC_CTYPE=C.UTF-8"}) {
    EXPECT_THAT(all, Contains(expected));
  }
  EXPECT_THAT(all, Contains(StartsWith("PATH=/usr/local/sbin")));
}

TEST(FunctionEnvironment, ReservesAllButTheDefaults) {
  for (const auto& variable : function_environment({}, paths({"a"}))) {
    const auto name = variable.substr(0, variable.find('='));
    const bool fallback = name == "PATH" || name == "HOME" || name == "TMPDIR" || name == "LC_CTYPE";
    EXPECT_EQ(is_reserved_variable(name), !fallback) << name;
  }
}

TEST(FunctionEnvironment, SetsNoInputWithoutOne) {
  const auto all = function_environment({}, paths({}));
  EXPECT_THAT(all, Not(Contains(StartsWith("INPUT_FILE"))));
  EXPECT_THAT(all, Not(Contains(StartsWith("FILE_NAME"))));
}

TEST(FunctionEnvironment, LetsTheFunctionChangeDefaultsButNotTheContract) {
  const auto all = function_environment({{"PATH", "/mine"}, {"TMP_INPUT_DIR", "/wrong"}, {"X", "1"}}, paths({}));
  EXPECT_THAT(all, Contains("PATH=/mine"));
  EXPECT_THAT(all, Contains("TMP_INPUT_DIR=/i"));
  EXPECT_THAT(all, Contains("X=1"));
  EXPECT_THAT(all, Not(Contains("TMP_INPUT_DIR=/wrong")));
}

TEST(FunctionEnvironment, LeavesTheLocaleToAnAuthorWhoChoosesOne) {
  for (const std::string name : {"LANG", "LC_ALL"}) {
    const auto all = function_environment({{name, "de_DE.ISO-8859-1"}}, paths({}));
    EXPECT_THAT(all, Contains(name + "=de_DE.ISO-8859-1"));
    EXPECT_THAT(all, Not(Contains(StartsWith("LC_CTYPE"))));
  }
  EXPECT_THAT(function_environment({{"LC_CTYPE", "C"}}, paths({})), Contains("LC_CTYPE=C"));
}

}  // namespace
}  // namespace millrace::launched
