#include "state/sqlite/old_rows.h"

#include <gmock/gmock.h>

#include "state/sqlite/schema.h"
#include "tests/unit/state/sqlite/fixture.h"

namespace millrace::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class OldRows : public SqliteTest {
 protected:
  static std::vector<std::string> plan(sqlite::Database& database, const std::string& sql) {
    sqlite::Query query = database.query("EXPLAIN QUERY PLAN " + sql);
    std::vector<std::string> steps;
    for (;;) {
      const auto row = query.next();
      EXPECT_TRUE(row) << row.error().message;
      if (!row || !*row) return steps;
      steps.push_back(query.text(3));
    }
  }

  RunRecord over(const std::string& run_id) const {
    RunRecord run = record(run_id);
    run.placed = run.published = true;
    run.committed_at = loop_.wall_now() - std::chrono::hours(1000);
    return run;
  }
};

TEST_F(OldRows, AreFoundAndRemovedWithoutLookingAtEveryRun) {
  auto database = sqlite::Database::open(path_);
  ASSERT_TRUE(database);
  ASSERT_TRUE(sqlite::prepare_for_writing(**database, 1 << 30));
  for (const auto& sql : sqlite::old_row_statements()) {
    const auto steps = plan(**database, sql);
    ASSERT_FALSE(steps.empty()) << sql;
    for (const auto& step : steps) {
      EXPECT_THAT(step, Not(HasSubstr("SCAN"))) << sql;
      EXPECT_THAT(step, Not(HasSubstr("TEMP B-TREE"))) << sql;
    }
  }
}

TEST_F(OldRows, ADatabaseOfTheFirstVersionKeepsItsRunsForTheirFullTimeFromItsMigrationOn) {
  auto opened = open();
  ASSERT_TRUE(opened);
  ASSERT_TRUE(run((*opened)->runs().commit(over("r"))));
  close(opened);
  execute(path_,
          "DROP INDEX runs_finished; DROP INDEX attempts_over; ALTER TABLE runs DROP COLUMN finished_at;"
          "ALTER TABLE runs DROP COLUMN result_truncated; ALTER TABLE runs DROP COLUMN memory_limit_bytes; ALTER TABLE "
          "attempts DROP COLUMN memory_limit_bytes;"
          "DROP TABLE store; DROP INDEX runs_by_order; PRAGMA user_version = 1");
  const WallTime before = loop_.wall_now() - std::chrono::seconds(1);
  opened = open();
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_TRUE(run((*opened)->runs().removable(before, {}, 10))->empty());
  EXPECT_EQ(run((*opened)->runs().removable(before + std::chrono::hours(1), {}, 10))->size(), 1U);
  EXPECT_TRUE(run((*opened)->runs().get(RunId("r")))->has_value());
  close(opened);
}

}  // namespace
}  // namespace millrace::test
