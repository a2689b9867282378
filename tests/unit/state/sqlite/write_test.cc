#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "async/task_group.h"
#include "state/sqlite/worker.h"
#include "tests/unit/state/sqlite/fixture.h"

namespace millrace::test {
namespace {

class SqliteWrite : public SqliteTest {
 protected:
  // How many records can be written until the store is full; 0: it never was.
  int fill_up(StateStore& state, std::size_t record_bytes) {
    for (int i = 0; i < 200; ++i) {
      const auto done = run(state.runs().commit(record("r" + std::to_string(i), record_bytes)));
      if (done) continue;
      EXPECT_EQ(done.error().code, Errc::no_space) << done.error().message;
      return i;
    }
    return 0;
  }

  void expect_whole(StateStore& state, int records) {
    for (int i = 0; i < records; ++i) {
      const auto found = run(state.runs().get(RunId("r" + std::to_string(i))));
      ASSERT_TRUE(found && *found) << i;
      EXPECT_EQ((*found)->outputs.size(), 2U);
    }
    const auto next = run(state.runs().get(RunId("r" + std::to_string(records))));
    ASSERT_TRUE(next);
    EXPECT_FALSE(*next) << "the one that did not fit left a trace";
  }
};

TEST_F(SqliteWrite, StopsAtItsSizeLimitAndGoesOnWhenThereIsRoom) {
  auto opened = open(SqliteOptions{.path = path_, .size_bytes_max = 1 << 20});
  ASSERT_TRUE(opened);
  StateStore& state = **opened;
  std::map<std::string, EventId> rows;
  for (int i = 0; i < 2000; ++i) rows.emplace("some quite long key " + std::to_string(i), EventId("0123456789abcdef"));
  ASSERT_TRUE(run(state.seen().fill("t", rows)));
  const int written = fill_up(state, 50'000);
  ASSERT_GT(written, 0);
  expect_whole(state, written);
  ASSERT_TRUE(run(state.seen().drop("t")));
  const auto done = run(state.runs().commit(record("r" + std::to_string(written), 50'000)));
  EXPECT_TRUE(done) << done.error().message;
  close(opened);
}

TEST_F(SqliteWrite, SurvivesAFullDisk) {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", directory_.path().c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "needs root to mount a small file system";
  }
  auto opened = open();
  ASSERT_TRUE(opened) << opened.error().message;
  const std::string ballast = directory_ / "ballast";
  std::ofstream(ballast) << std::string(2 << 20, 'x');
  const int written = fill_up(**opened, 50'000);
  ASSERT_GT(written, 0);
  expect_whole(**opened, written);
  std::filesystem::remove(ballast);
  const auto done = run((*opened)->runs().commit(record("r" + std::to_string(written), 50'000)));
  EXPECT_TRUE(done) << done.error().message;
  close(opened);
  EXPECT_EQ(::umount2(directory_.path().c_str(), MNT_DETACH), 0);
}

// One writer's worker alone, with jobs that fail on purpose.
class SqliteBatch : public SqliteTest {
 protected:
  SqliteBatch() { open_worker(loop_); }

  void open_worker(EventLoop& loop) {
    auto database = sqlite::Database::open(path_);
    EXPECT_TRUE(database);
    EXPECT_TRUE(
        (*database)->execute("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)"));
    worker_ = std::make_unique<sqlite::Worker>(
        loop, std::move(*database), sqlite::Worker::Options{.begin = "BEGIN IMMEDIATE", .batch_max = 100, .room = 1000},
        sqlite::Worker::Meters{.waits = metrics_.counter("waits", ""),
                               .jobs = metrics_.counter("jobs", ""),
                               .transactions = transactions_,
                               .duration = metrics_.histogram("seconds", "")});
  }

  static Result<void> insert(sqlite::Database& database, int number) {
    sqlite::Query query = database.query("INSERT INTO t VALUES (?)");
    query.bind(number);
    return query.run();
  }

  Task<void> write(int number, bool fail_after, int& succeeded) {
    const auto done = co_await worker_->run(
        [number, fail_after](sqlite::Database& database) -> Result<void> {
          if (auto inserted = insert(database, number); !inserted) return inserted;
          if (fail_after) return fail(Errc::aborted, "on purpose");
          return {};
        },
        1);
    EXPECT_EQ(done.has_value(), !fail_after);
    if (done) ++succeeded;
  }

  std::int64_t rows() {
    const auto count = run(worker_->run(
        [](sqlite::Database& database) -> Result<std::int64_t> {
          sqlite::Query query = database.query("SELECT count(*) FROM t");
          const auto row = query.next();
          if (!row) return fail(row.error());
          return query.integer(0);
        },
        1));
    EXPECT_TRUE(count);
    return count.value_or(-1);
  }

  Counter& transactions_ = metrics_.counter("transactions", "");
  std::unique_ptr<sqlite::Worker> worker_;
};

TEST_F(SqliteBatch, AFailedWriteTakesOnlyItsOwnChangesBack) {
  TaskGroup group(loop_);
  int succeeded = 0;
  for (int i = 0; i < 90; ++i) group.spawn(write(i, i % 3 == 0, succeeded));
  run_task(loop_, group.join());
  EXPECT_EQ(succeeded, 60);
  EXPECT_EQ(rows(), 60);
  EXPECT_LT(transactions_.value(), 60U) << "writers that come together share transactions";
  run_task(loop_, worker_->close());
}

Task<void> insert_one(sqlite::Worker& worker, int number, sqlite::Urgency urgency) {
  const auto done = co_await worker.run(
      [number](sqlite::Database& database) -> Result<void> {
        sqlite::Query query = database.query("INSERT INTO t VALUES (?)");
        query.bind(number);
        return query.run();
      },
      1, urgency);
  EXPECT_TRUE(done);
}

// A loop on which all that ever happens happens at once, so that there is company from the fifth write on.
class OneMoment final : public EventLoop {
 public:
  explicit OneMoment(EventLoop& loop) : loop_(loop) {}
  TimePoint now() const override { return TimePoint(std::chrono::hours(1)); }
  std::chrono::system_clock::time_point wall_now() const override { return loop_.wall_now(); }
  void post(Callback callback) override { loop_.post(std::move(callback)); }
  std::unique_ptr<Handle> start_timer(Duration delay, Callback callback) override {
    return loop_.start_timer(delay, std::move(callback));
  }
  std::unique_ptr<Handle> watch(int fd, Interest interest, Callback callback) override {
    return loop_.watch(fd, interest, std::move(callback));
  }
  bool on_loop_thread() const override { return loop_.on_loop_thread(); }

 private:
  EventLoop& loop_;
};

// By itself a prompt write wakes the thread before the next one comes.
TEST_F(SqliteBatch, AmongManyAPatientWriteSharesTheTransactionOfThePromptOneAfterIt) {
  run_task(loop_, worker_->close());
  OneMoment moment(loop_);
  open_worker(moment);
  for (int i = -4; i < 0; ++i) run_task(loop_, insert_one(*worker_, i, sqlite::Urgency::prompt));
  for (int i = 0; i < 20; ++i) {
    const auto before = transactions_.value();
    TaskGroup group(loop_);
    group.spawn(insert_one(*worker_, 2 * i, sqlite::Urgency::patient));
    group.spawn(insert_one(*worker_, 2 * i + 1, sqlite::Urgency::prompt));
    run_task(loop_, group.join());
    ASSERT_EQ(transactions_.value(), before + 1) << i;
  }
  EXPECT_EQ(rows(), 44);
  run_task(loop_, worker_->close());
}

TEST_F(SqliteBatch, AmongManyAPatientWriteThatNobodyJoinsIsDoneAllTheSame) {
  run_task(loop_, worker_->close());
  OneMoment moment(loop_);
  open_worker(moment);
  for (int i = 0; i < 6; ++i) run_task(loop_, insert_one(*worker_, i, sqlite::Urgency::patient));
  EXPECT_EQ(rows(), 6);
  run_task(loop_, worker_->close());
}

TEST_F(SqliteBatch, APatientWriteThatNobodyJoinsIsDoneAllTheSame) {
  run_task(loop_, insert_one(*worker_, 1, sqlite::Urgency::patient));
  EXPECT_EQ(rows(), 1);
  run_task(loop_, worker_->close());
}

TEST_F(SqliteBatch, ClosingWaitsForPatientWrites) {
  TaskGroup group(loop_);
  group.spawn(insert_one(*worker_, 1, sqlite::Urgency::patient));
  run_task(loop_, worker_->close());
  run_task(loop_, group.join());
  EXPECT_EQ(transactions_.value(), 1U);
}

Task<void> commit_together(sqlite::Worker& worker, int& lost) {
  const auto done = co_await worker.run(
      [](sqlite::Database& database) -> Result<void> {
        // Ends the transaction behind the worker's back, as SQLite itself does when the disk is full.
        if (auto ended = database.execute("ROLLBACK"); !ended) return ended;
        return fail(Errc::no_space, "on purpose");
      },
      1);
  EXPECT_FALSE(done);
  if (!done) EXPECT_EQ(done.error().code, Errc::no_space);
  ++lost;
}

TEST_F(SqliteBatch, NobodyIsToldOfSuccessWhenTheTransactionIsLost) {
  TaskGroup group(loop_);
  int lost = 0;
  group.spawn(commit_together(*worker_, lost));
  run_task(loop_, group.join());
  EXPECT_EQ(lost, 1);
  int succeeded = 0;
  group.spawn(write(1, false, succeeded));
  run_task(loop_, group.join());
  EXPECT_EQ(succeeded, 1) << "the next transaction is not affected";
  EXPECT_EQ(rows(), 1);
  run_task(loop_, worker_->close());
}

TEST_F(SqliteWrite, ClosingFinishesWhatWasAskedAlsoWhatWaitsForRoom) {
  auto opened = open(SqliteOptions{.path = path_, .writes_queued_bytes_max = 40 << 10});
  ASSERT_TRUE(opened);
  struct Commit {
    static Task<void> of(StateStore& state, RunRecord run, int& done) {
      const auto result = co_await state.runs().commit(std::move(run));
      if (result) ++done;
    }
  };
  TaskGroup group(loop_);
  int done = 0;
  for (int i = 0; i < 100; ++i) group.spawn(Commit::of(**opened, record("r" + std::to_string(i)), done));
  close(opened);
  run_task(loop_, group.join());
  EXPECT_EQ(done, 100);
  opened = open();
  expect_whole(**opened, 100);
  close(opened);
}

TEST_F(SqliteWrite, WritersWaitWhenTheQueueIsFull) {
  auto opened = open(SqliteOptions{.path = path_, .writes_queued_bytes_max = 1});
  ASSERT_TRUE(opened);
  struct Put {
    static Task<void> of(StateStore& state, int number, int& done) {
      const auto result = co_await state.seen().put("t", {{std::to_string(number), EventId("e")}});
      if (result) ++done;
    }
  };
  TaskGroup group(loop_);
  int done = 0;
  for (int i = 0; i < 20; ++i) group.spawn(Put::of(**opened, i, done));
  run_task(loop_, group.join());
  EXPECT_EQ(done, 20);
  const auto& waits = metrics_.counter("millrace_state_queue_full_total", "state store calls that waited for room",
                                       {{"side", "write"}});
  EXPECT_EQ(waits.value(), 19U);
  close(opened);
}

}  // namespace
}  // namespace millrace::test
