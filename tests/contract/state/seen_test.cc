#include <gmock/gmock.h>

#include "async/task_group.h"
#include "tests/contract/state/backends.h"

namespace millrace::test {
namespace {

using Rows = std::map<std::string, EventId>;

class SeenContract : public StateContract {
 protected:
  SeenStore& seen() { return state().seen(); }

  Rows all(const std::string& trigger) {
    const auto found = run(seen().all(trigger));
    EXPECT_TRUE(found);
    return found ? *found : Rows();
  }

  bool filled(const std::string& trigger) {
    const auto found = run(seen().filled(trigger));
    EXPECT_TRUE(found);
    return found && *found;
  }
};

// Keys are file names: any bytes.
const Rows kRows = {{"a", EventId("1")}, {"folder/b", EventId("2")}, {"it's \xff;\n", EventId("3")}};

TEST_P(SeenContract, KeepsRowsOfEachTriggerApart) {
  ASSERT_TRUE(run(seen().put("t", kRows)));
  ASSERT_TRUE(run(seen().put("other", {{"a", EventId("9")}})));
  reopen();
  EXPECT_EQ(all("t"), kRows);
  EXPECT_EQ(all("other"), (Rows{{"a", EventId("9")}}));
  EXPECT_EQ(all("nothing"), Rows());
}

TEST_P(SeenContract, PutReplacesAndAdds) {
  ASSERT_TRUE(run(seen().put("t", {{"a", EventId("1")}, {"b", EventId("2")}})));
  ASSERT_TRUE(run(seen().put("t", {{"b", EventId("3")}, {"c", EventId("4")}})));
  ASSERT_TRUE(run(seen().put("t", {})));
  EXPECT_EQ(all("t"), (Rows{{"a", EventId("1")}, {"b", EventId("3")}, {"c", EventId("4")}}));
  EXPECT_FALSE(filled("t"));
}

TEST_P(SeenContract, FindsOneRow) {
  ASSERT_TRUE(run(seen().put("t", kRows)));
  for (const auto& [key, event_id] : kRows) EXPECT_EQ(run(seen().get("t", key)), event_id);
  EXPECT_EQ(run(seen().get("t", "nothing")), std::nullopt);
  EXPECT_EQ(run(seen().get("other", "a")), std::nullopt);
}

TEST_P(SeenContract, RemovesKeysAndMindsNoMissingOnes) {
  ASSERT_TRUE(run(seen().put("t", kRows)));
  ASSERT_TRUE(run(seen().put("other", kRows)));
  ASSERT_TRUE(run(seen().remove("t", {"a", "nothing", "it's \xff;\n"})));
  ASSERT_TRUE(run(seen().remove("nothing", {"a"})));
  EXPECT_EQ(all("t"), (Rows{{"folder/b", EventId("2")}}));
  EXPECT_EQ(all("other"), kRows);
}

TEST_P(SeenContract, FillReplacesEverythingAndIsRemembered) {
  EXPECT_FALSE(filled("t"));
  ASSERT_TRUE(run(seen().put("t", {{"old", EventId("1")}})));
  ASSERT_TRUE(run(seen().fill("t", kRows)));
  EXPECT_TRUE(filled("t"));
  EXPECT_FALSE(filled("other"));
  EXPECT_EQ(all("t"), kRows);
  ASSERT_TRUE(run(seen().fill("t", {})));
  reopen();
  EXPECT_TRUE(filled("t")) << "an empty bucket is filled as well";
  EXPECT_EQ(all("t"), Rows());
}

TEST_P(SeenContract, DropForgetsRowsAndTheFill) {
  ASSERT_TRUE(run(seen().fill("t", kRows)));
  ASSERT_TRUE(run(seen().fill("other", kRows)));
  ASSERT_TRUE(run(seen().drop("t")));
  ASSERT_TRUE(run(seen().drop("nothing")));
  EXPECT_FALSE(filled("t"));
  EXPECT_EQ(all("t"), Rows());
  EXPECT_EQ(all("other"), kRows);
}

Task<void> fill(SeenStore& seen, int number) {
  Rows rows;
  for (int i = 0; i < 100; ++i) rows.emplace("key " + std::to_string(i), EventId(std::to_string(number)));
  const auto done = co_await seen.fill("t", std::move(rows));
  EXPECT_TRUE(done);
}

Task<void> watch(SeenStore& seen, int& mixed) {
  for (int i = 0; i < 20; ++i) {
    const auto rows = co_await seen.all("t");
    if (!rows || rows->empty()) continue;
    for (const auto& [key, event_id] : *rows) mixed += event_id != rows->begin()->second ? 1 : 0;
    mixed += rows->size() != 100 ? 1 : 0;
  }
}

TEST_P(SeenContract, NobodySeesHalfAFill) {
  TaskGroup group(loop_);
  int mixed = 0;
  for (int i = 0; i < 20; ++i) {
    group.spawn(fill(seen(), i));
    group.spawn(watch(seen(), mixed));
  }
  run_task(loop_, group.join());
  EXPECT_EQ(mixed, 0);
  EXPECT_EQ(all("t").size(), 100U);
}

INSTANTIATE_TEST_SUITE_P(Backends, SeenContract, testing::ValuesIn(backends()), backend_name);

}  // namespace
}  // namespace millrace::test
