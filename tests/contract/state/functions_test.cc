#include <gmock/gmock.h>

#include "tests/contract/state/backends.h"

namespace millrace::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class FunctionContract : public StateContract {
 protected:
  FunctionStore& functions() { return state().functions(); }

  std::vector<FunctionSpec> all() {
    auto found = run(functions().all());
    EXPECT_TRUE(found) << found.error().message;
    return found ? std::move(*found) : std::vector<FunctionSpec>();
  }
};

FunctionSpec spec(const std::string& name) {
  FunctionSpec made;
  made.name = name;
  made.uid = FunctionUid("01ARZ3NDEKTSV4RRFFQ69G5FAV");
  made.revision = 3;
  made.script = "true\n";
  return made;
}

// Nothing at its default.
FunctionSpec full_spec() {
  FunctionSpec made = spec("full");
  made.image = "docker://registry.example/image:1";
  made.script = "#!/bin/sh\necho \"it's $1\"\n\t\xc3\xa9\n";
  made.environment = {{"A", "1"}, {"TOKEN", "se=cret \"quoted\"\n"}};
  made.executor = ExecutorKind::process;
  made.network = NetworkKind::host;
  made.memory_bytes = (1ULL << 33) + 1;
  made.cpu_millicores = 1'250;
  made.limits = {.cpu_millicores = 2'000,
                 .pids = 17,
                 .pids_explicit = true,
                 .open_files = 18,
                 .scratch_bytes = (64 << 10) + 1,
                 .log_bytes = 20,
                 .result_bytes = 21,
                 .output_bytes = 22,
                 .output_files = 23};
  made.memory_explicit = true;
  made.inputs = {{.storage = {.provider = "local", .path = "in"}}, {.storage = {.provider = "local", .path = "in/b"}}};
  made.outputs = {{.storage = {.provider = "local", .path = "out"}, .prefix = {"p"}, .suffix = {".jpg", ".png"}},
                  {.storage = {.provider = "local", .path = "other/place"}, .prefix = {}, .suffix = {}}};
  made.stage_in = false;
  made.timeout = std::chrono::milliseconds(1'501);
  made.grace = std::chrono::milliseconds(1'502);
  made.concurrency = 24;
  made.weight = 7;
  made.retries = 25;
  made.retry_base = std::chrono::milliseconds(1'503);
  made.retry_cap = std::chrono::milliseconds(1'504);
  made.max_losses = 26;
  made.infrastructure_retry_for = std::chrono::milliseconds(1'505);
  made.dead_letter = false;
  made.publish_on_failure = true;
  made.settle = std::chrono::milliseconds(1'506);
  made.ignore = {"*.ignored"};
  made.rescan = std::chrono::milliseconds(1'507'000);
  made.recursion_depth_max = 9;
  return made;
}

TEST_P(FunctionContract, KeepsEveryMember) {
  ASSERT_TRUE(run(functions().put(full_spec())));
  ASSERT_TRUE(run(functions().put(spec("plain"))));
  reopen();
  EXPECT_THAT(all(), ElementsAre(full_spec(), spec("plain")));
}

TEST_P(FunctionContract, KeepsAScriptThatIsNotText) {
  FunctionSpec binary = spec("binary");
  binary.script = "#!/bin/sh\necho \xff\xfe\x80\n";
  ASSERT_TRUE(run(functions().put(binary)));
  reopen();
  EXPECT_THAT(all(), ElementsAre(binary));
}

TEST_P(FunctionContract, TheNewestRevisionReplacesTheOneBefore) {
  ASSERT_TRUE(run(functions().put(spec("f"))));
  FunctionSpec next = spec("f");
  next.revision = 4;
  next.script = "new";
  ASSERT_TRUE(run(functions().put(next)));
  EXPECT_THAT(all(), ElementsAre(next));
}

TEST_P(FunctionContract, ListsByNameAndRemoves) {
  EXPECT_THAT(all(), IsEmpty());
  for (const char* name : {"c", "a", "b"}) ASSERT_TRUE(run(functions().put(spec(name))));
  EXPECT_THAT(all(), ElementsAre(spec("a"), spec("b"), spec("c")));
  ASSERT_TRUE(run(functions().remove("b")));
  EXPECT_THAT(all(), ElementsAre(spec("a"), spec("c")));
  const auto again = run(functions().remove("b"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::not_found);
}

TEST_P(FunctionContract, RefusesAFunctionWithoutAName) {
  const auto refused = run(functions().put(FunctionSpec()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Backends, FunctionContract, testing::ValuesIn(backends()), backend_name);

}  // namespace
}  // namespace millrace::test
