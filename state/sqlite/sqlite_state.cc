#include "state/sqlite/sqlite_state.h"

#include <utility>

#include "async/blocking_pool.h"
#include "state/sqlite/function_store.h"
#include "state/sqlite/lock_file.h"
#include "state/sqlite/run_store.h"
#include "state/sqlite/schema.h"
#include "state/sqlite/seen_store.h"
#include "state/sqlite/worker.h"

namespace millrace {
namespace {

using sqlite::Database;
using sqlite::Worker;

struct Opened {
  Fd lock;
  std::string id;
  std::unique_ptr<Database> write;
  std::unique_ptr<Database> read;
};

Result<Opened> open_files(const SqliteOptions& options) {
  Opened opened;
  auto lock = sqlite::lock_database(options.path);
  if (!lock) return fail(lock.error());
  opened.lock = std::move(*lock);
  auto write = Database::open(options.path);
  if (!write) return fail(write.error());
  opened.write = std::move(*write);
  if (const auto ready = sqlite::prepare_for_writing(*opened.write, options.size_bytes_max); !ready) {
    return fail(ready.error());
  }
  auto id = sqlite::store_id(*opened.write);
  if (!id) return fail(id.error());
  opened.id = std::move(*id);
  auto read = Database::open(options.path);
  if (!read) return fail(read.error());
  opened.read = std::move(*read);
  if (const auto ready = sqlite::prepare_for_reading(*opened.read); !ready) return fail(ready.error());
  return opened;
}

Worker::Meters meters(Metrics& metrics, const std::string& side) {
  const Metrics::Labels labels{{"side", side}};
  return {.waits = metrics.counter("millrace_state_queue_full_total", "state store calls that waited for room", labels),
          .jobs = metrics.counter("millrace_state_calls_total", "state store calls", labels),
          .transactions = metrics.counter("millrace_state_transactions_total", "state store transactions", labels),
          .duration = metrics.histogram("millrace_state_transaction_seconds", "time of one transaction", labels)};
}

class SqliteState final : public StateStore {
 public:
  SqliteState(Opened opened, const SqliteOptions& options, EventLoop& loop, Metrics& metrics)
      : lock_(std::move(opened.lock)),
        id_(std::move(opened.id)),
        writer_(loop, std::move(opened.write),
                {.begin = "BEGIN IMMEDIATE",
                 .batch_max = options.batch_writes_max,
                 .room = std::max<std::size_t>(1, options.writes_queued_bytes_max / sqlite::kWriteUnitBytes)},
                meters(metrics, "write")),
        reader_(loop, std::move(opened.read),
                {.begin = "BEGIN", .batch_max = 1, .room = std::max<std::size_t>(1, options.reads_queued_max)},
                meters(metrics, "read")),
        functions_(writer_, reader_),
        runs_(loop, writer_, reader_),
        seen_(writer_, reader_) {}

  [[nodiscard]] const std::string& id() const override { return id_; }
  FunctionStore& functions() override { return functions_; }
  RunStore& runs() override { return runs_; }
  SeenStore& seen() override { return seen_; }

  Task<void> close() override {
    // The reader first: the last connection to close copies the log into the file and removes it.
    co_await reader_.close();
    co_await writer_.close();
    lock_.reset();
  }

 private:
  Fd lock_;  // given back last
  std::string id_;
  Worker writer_;
  Worker reader_;
  sqlite::SqliteFunctionStore functions_;
  sqlite::SqliteRunStore runs_;
  sqlite::SqliteSeenStore seen_;
};

}  // namespace

Task<Result<std::unique_ptr<StateStore>>> open_sqlite_state(SqliteOptions options, EventLoop& loop, Log& log,
                                                            Metrics& metrics) {
  // Opening may replay a log that a crash left behind.
  BlockingPool opener(loop, {.threads = 1, .queued_max = 1});
  auto opened = co_await opener.run([options] { return open_files(options); });
  if (!opened) co_return fail(opened.error());
  log.info("state store opened", {{"path", options.path}, {"schema", sqlite::kSchemaVersion}});
  co_return std::make_unique<SqliteState>(std::move(*opened), options, loop, metrics);
}

}  // namespace millrace
