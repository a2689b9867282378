#include "formats/function_json.h"

#include <gtest/gtest.h>

#include "tests/unit/formats/fdl_fixture.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using test::one;
using test::Texts;

TEST(FunctionJson, KeepsEveryField) {
  FunctionSpec f = one(
      "environment: {A: x, B: \"k\xc3\xbc\\n\"}\nexecutor: process\nnetwork: host\nmemory: 300000001\ncpu: 333m\n"
      "limits: {cpu: 100m, pids: 7, output: 123456789012345}\ninput: [a/b, c]\noutput: [{path: d, prefix: [x], suffix: "
      "[y]}]\nfile_stage_in: true\ntimeout: 1001ms\ngrace: 0\nconcurrency: 2\nweight: 9\nretries: 0\nretry: {base: "
      "1500ms, cap: "
      "1h}\nmax_losses: 2\ninfrastructure_retry_for: 0\ndead_letter: false\npublish_on_failure: true\nsettle: 1s\n"
      "ignore: []\nrescan: 7m\nrecursion: {max_depth: 2}\norder: key");
  f.uid = FunctionUid("01ARZ3NDEKTSV4RRFFQ69G5FAV");
  f.revision = 12;
  f.script = "echo \xe9";  // one line, and not UTF-8
  const auto text = to_full_json(f).dump();
  const auto back = function_from_json(*parse_json(text, 1 << 20));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, f);
  EXPECT_EQ(to_full_json(*back).dump(), text);
  EXPECT_EQ(back->uid, f.uid);
  EXPECT_EQ(back->revision, 12U);
  EXPECT_EQ(back->script, f.script);
  EXPECT_EQ(back->environment, f.environment);
  EXPECT_EQ(back->executor, f.executor);
  EXPECT_EQ(back->network, f.network);
  EXPECT_EQ(back->memory_bytes, 300'000'001U);
  EXPECT_EQ(back->cpu_millicores, 333U);
  EXPECT_EQ(back->limits.cpu_millicores, 100U);
  EXPECT_EQ(back->limits.output_bytes, 123'456'789'012'345U);
  EXPECT_EQ(back->memory_explicit, f.memory_explicit);
  EXPECT_EQ(back->network_explicit, f.network_explicit);
  EXPECT_EQ(back->limits.pids_explicit, f.limits.pids_explicit);
  EXPECT_EQ(back->inputs.size(), 2U);
  EXPECT_EQ(back->outputs[0].suffix, Texts{"y"});
  EXPECT_FALSE(back->stage_in);
  EXPECT_EQ(back->timeout, milliseconds(1001));
  EXPECT_EQ(back->grace, milliseconds(0));
  EXPECT_EQ(back->retry_base, milliseconds(1500));
  EXPECT_FALSE(back->dead_letter);
  EXPECT_TRUE(back->publish_on_failure);
  EXPECT_TRUE(back->ignore.empty());
  EXPECT_EQ(back->rescan, minutes(7));
  EXPECT_EQ(back->recursion_depth_max, 2U);
  EXPECT_TRUE(back->ordered_by_key);
}

TEST(FunctionJson, ReadsWhatIsStoredAlthoughAVariableIsReserved) {
  FunctionSpec f = one("environment: {MINE: 1}");
  f.uid = FunctionUid("01ARZ3NDEKTSV4RRFFQ69G5FAV");
  f.environment["REQUEST_ID"] = "mine";
  const auto back = function_from_json(to_full_json(f));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, f);
}

TEST(FunctionJson, KeepsTheOciRuntime) {
  const FunctionSpec f = one("executor: oci\nruntime: runc");
  EXPECT_EQ(f.executor, ExecutorKind::oci);
  EXPECT_EQ(f.oci_runtime, "runc");
  const auto back = function_from_json(to_json(f));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->executor, ExecutorKind::oci);
  EXPECT_EQ(back->oci_runtime, "runc");
  EXPECT_EQ(to_json(one("executor: oci")).string_or("runtime", "absent"), "absent");
}

TEST(FunctionJson, UnitsAreTexts) {
  const Json json = to_json(one("memory: 256Mi\ncpu: 500m\ntimeout: 30s"));
  EXPECT_EQ(json.string_or("memory", ""), "256Mi");
  EXPECT_EQ(json.string_or("cpu", ""), "500m");
  EXPECT_EQ(json.string_or("timeout", ""), "30s");
}

TEST(FunctionJson, StoredDefaultsStayDefaults) {
  FunctionSpec f = one("");
  f.uid = FunctionUid("u");
  const auto back = function_from_json(to_json(f));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_FALSE(back->memory_explicit || back->limits.pids_explicit)
      << "that all limits are written down does not make them the author's";
  EXPECT_EQ(to_json(*back).dump(), to_json(f).dump());
}

TEST(FunctionJson, IgnoresWhatANewerVersionWroteAndNamesWhatIsWrong) {
  FunctionSpec f = one("");
  f.uid = FunctionUid("u");
  Json json = to_json(f);
  json.set("invented_later", 1);
  EXPECT_TRUE(function_from_json(json));
  json.set("memory", true);
  EXPECT_EQ(function_from_json(json).error().message, "function 'f': memory: must be a size such as 512Mi, is true");
  EXPECT_FALSE(function_from_json(Json("f")));
}

TEST(FunctionJson, AnAuthorMaySendBackWhatTheApiReturned) {
  FunctionSpec f = one("memory: 1Gi");
  f.uid = FunctionUid("u");
  f.revision = 3;
  f.script = "echo hi";
  Diagnostics problems;
  const auto back = read_function(to_json(f), "function", nullptr, problems);
  EXPECT_TRUE(problems.empty()) << problems.to_error("f").message;
  EXPECT_EQ(back.script, "echo hi") << "without files a script is its content";
  EXPECT_EQ(back.revision, 0U) << "the registry's business";
  EXPECT_TRUE(back.uid.empty());
}

}  // namespace
}  // namespace millrace
