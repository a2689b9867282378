// A place for a database, and a loop to open it on.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <memory>
#include <string>

#include "state/sqlite/sqlite_state.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_dir.h"

namespace millrace::test {

class SqliteTest : public testing::Test {
 protected:
  using Opened = Result<std::unique_ptr<StateStore>>;

  Opened open() { return open(SqliteOptions{.path = path_}); }
  Opened open(SqliteOptions options) {
    return run_task(loop_, open_sqlite_state(std::move(options), loop_, log_, metrics_));
  }

  template <class T>
  T run(Task<T> task) {
    return run_task(loop_, std::move(task));
  }

  void close(Opened& opened) {
    run_task(loop_, (*opened)->close());
    opened->reset();
  }

  // What another program would do to the file.
  void execute(const std::string& path, const std::string& sql) {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, &message), SQLITE_OK) << message;
    sqlite3_free(message);
    sqlite3_close(database);
  }

  static RunRecord record(const std::string& run_id, std::size_t result_bytes = 0) {
    RunRecord run;
    run.run_id = RunId(run_id);
    run.function = "f";
    run.result = std::string(result_bytes, 'r');
    run.outputs.resize(2);
    run.outputs[0].name = "a of " + run_id;
    run.outputs[1].name = "b of " + run_id;
    return run;
  }

  UvEventLoop loop_;
  Log log_{{.level = LogLevel::error}};
  Metrics metrics_;
  TempDir directory_;
  std::string path_ = directory_ / "state.db";
};

}  // namespace millrace::test
