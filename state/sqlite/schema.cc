#include "state/sqlite/schema.h"

#include <algorithm>
#include <array>
#include <string>

#include "state/state_store.h"

namespace millrace::sqlite {
namespace {

// "MLRC", so that `file` and other programs can tell whose database this is.
constexpr std::int64_t kApplicationId = 0x4D4C5243;

// Times are nanoseconds since 1970, outcomes are names, ids are text: the file can be read with any SQLite shell.
//
// attempts.named: a run's row names this attempt. attempts.directory: 0 none or removed, 1 is there, 2 is there and
// holds the outputs of the row. Both are kept by the commit, so that the sweeper's questions are answered from small
// indexes instead of looking at every run there ever was.
//
// The long columns of runs are the last ones: SQLite then lists rows without touching the pages they overflow to.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE functions (
  name TEXT PRIMARY KEY,
  spec TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE attempts (
  token TEXT PRIMARY KEY,
  run_id TEXT NOT NULL,
  bucket TEXT NOT NULL,
  node TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER NOT NULL,
  outcome TEXT,
  exit_code INTEGER NOT NULL,
  signal INTEGER NOT NULL,
  message TEXT NOT NULL,
  wall_us INTEGER NOT NULL,
  queued_us INTEGER NOT NULL,
  start_us INTEGER NOT NULL,
  cpu_us INTEGER NOT NULL,
  memory_peak_bytes INTEGER NOT NULL,
  rss_peak_bytes INTEGER NOT NULL,
  read_bytes INTEGER NOT NULL,
  written_bytes INTEGER NOT NULL,
  throttled_us INTEGER NOT NULL,
  output_bytes INTEGER NOT NULL,
  named INTEGER NOT NULL,
  directory INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX attempts_by_run ON attempts (run_id, started_at);
CREATE INDEX attempts_open ON attempts (started_at) WHERE outcome IS NULL AND named = 0;
CREATE INDEX attempts_ended ON attempts (started_at) WHERE outcome IS NOT NULL AND directory = 1;

CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL UNIQUE,
  event_id TEXT NOT NULL,
  function TEXT NOT NULL,
  function_uid TEXT NOT NULL,
  revision INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  event_order TEXT NOT NULL,
  cause TEXT NOT NULL,
  hops INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL,
  exit_code INTEGER NOT NULL,
  signal INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  losses INTEGER NOT NULL,
  token TEXT NOT NULL,
  node TEXT NOT NULL,
  queued_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  log_bytes INTEGER NOT NULL,
  placed INTEGER NOT NULL,
  published INTEGER NOT NULL,
  wall_us INTEGER NOT NULL,
  queued_us INTEGER NOT NULL,
  start_us INTEGER NOT NULL,
  cpu_us INTEGER NOT NULL,
  memory_peak_bytes INTEGER NOT NULL,
  rss_peak_bytes INTEGER NOT NULL,
  read_bytes INTEGER NOT NULL,
  written_bytes INTEGER NOT NULL,
  throttled_us INTEGER NOT NULL,
  output_bytes INTEGER NOT NULL,
  has_input INTEGER NOT NULL,
  input_store TEXT NOT NULL,
  input_bucket TEXT NOT NULL,
  input_key TEXT NOT NULL,
  input_size_bytes INTEGER NOT NULL,
  input_mtime_ns INTEGER NOT NULL,
  input_inode INTEGER NOT NULL,
  input_private_path TEXT NOT NULL,
  log_tail BLOB NOT NULL,
  result BLOB NOT NULL
);
CREATE INDEX runs_by_time ON runs (committed_at, run_id);
CREATE INDEX runs_by_function ON runs (function, committed_at, run_id);
CREATE INDEX runs_by_outcome ON runs (outcome, committed_at, run_id) WHERE outcome <> 'succeeded';
CREATE INDEX runs_unfinished ON runs (committed_at, run_id) WHERE placed = 0 OR published = 0;
CREATE INDEX runs_by_event ON runs (event_id, committed_at, run_id);
CREATE INDEX runs_by_cause ON runs (cause, committed_at, run_id) WHERE cause <> '';

CREATE TABLE outputs (
  run INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  store TEXT NOT NULL,
  bucket TEXT NOT NULL,
  key TEXT NOT NULL,
  source_path TEXT NOT NULL,
  placed_size_bytes INTEGER NOT NULL,
  placed_mtime_ns INTEGER NOT NULL,
  placed_inode INTEGER NOT NULL,
  private_path TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  PRIMARY KEY (run, position)
) WITHOUT ROWID;

CREATE TABLE seen (
  trigger_id TEXT NOT NULL,
  key TEXT NOT NULL,
  event_id TEXT NOT NULL,
  PRIMARY KEY (trigger_id, key)
) WITHOUT ROWID;

CREATE TABLE seen_filled (
  trigger_id TEXT PRIMARY KEY
) WITHOUT ROWID;
)sql";

// runs.finished_at: when the row had both marks; before, the time of its commit, so that a mark changes no row's
// length. Of the rows of version 1 nobody knows it: the time of the migration is late enough.
//
// attempts_over is short: an attempt that is named by its row is not in it.
constexpr const char* kVersion2 = R"sql(
ALTER TABLE runs ADD COLUMN finished_at INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET finished_at = max(committed_at, CAST(strftime('%s', 'now') AS INTEGER) * 1000000000);
CREATE INDEX runs_finished ON runs (finished_at) WHERE placed <> 0 AND published <> 0;
CREATE INDEX attempts_over ON attempts (started_at) WHERE outcome IS NOT NULL AND directory = 0 AND named = 0;
)sql";

constexpr const char* kVersion3 = R"sql(
ALTER TABLE attempts ADD COLUMN memory_limit_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN memory_limit_bytes INTEGER NOT NULL DEFAULT 0;
)sql";

// See StateStore::id().
constexpr const char* kVersion4 = R"sql(
CREATE TABLE store (
  id TEXT NOT NULL
);
INSERT INTO store VALUES (lower(hex(randomblob(4))));
)sql";

constexpr const char* kVersion5 = R"sql(
ALTER TABLE runs ADD COLUMN result_truncated INTEGER NOT NULL DEFAULT 0;
)sql";

constexpr const char* kVersion6 = R"sql(
CREATE INDEX runs_by_order ON runs (event_order);
)sql";

// kMigrations[n] brings version n to n + 1.
constexpr std::array<const char*, kSchemaVersion> kMigrations = {kVersion1, kVersion2, kVersion3,
                                                                 kVersion4, kVersion5, kVersion6};

Result<std::int64_t> number(Database& database, const std::string& sql) {
  Query query = database.query(sql);
  const auto row = query.next();
  if (!row) return fail(row.error());
  return *row ? query.integer(0) : 0;
}

Result<std::int64_t> check_version(Database& database) {
  const auto version = number(database, "PRAGMA user_version");
  if (!version) return fail(version.error());
  if (*version > kSchemaVersion) {
    return fail(Errc::failed_precondition,
                "state store " + database.path() + ": written by a newer build (schema " + std::to_string(*version) +
                    ", this build knows up to " + std::to_string(kSchemaVersion) +
                    "); start the newer build, or restore a copy from before the upgrade. Nothing was changed");
  }
  const auto application = number(database, "PRAGMA application_id");
  if (!application) return fail(application.error());
  const auto tables = number(database, "SELECT count(*) FROM sqlite_schema");
  if (!tables) return fail(tables.error());
  const bool empty = *version == 0 && *application == 0 && *tables == 0;
  if (!empty && *application != kApplicationId) {
    return fail(Errc::failed_precondition, "state store " + database.path() +
                                               ": this is another program's SQLite database; choose another data "
                                               "directory. Nothing was changed");
  }
  return *version;
}

Result<void> migrate(Database& database, std::int64_t version) {
  for (; version < kSchemaVersion; ++version) {
    const std::string step = std::string("BEGIN IMMEDIATE;") + kMigrations.at(static_cast<std::size_t>(version)) +
                             "PRAGMA application_id = " + std::to_string(kApplicationId) +
                             "; PRAGMA user_version = " + std::to_string(version + 1) + "; COMMIT;";
    if (const auto done = database.execute(step); !done) {
      if (database.in_transaction()) (void)database.execute("ROLLBACK");
      return fail(done.error().with("bring the schema from version " + std::to_string(version) + " to the next"));
    }
  }
  return {};
}

}  // namespace

Result<void> prepare_for_writing(Database& database, std::uint64_t size_bytes_max) {
  const auto version = check_version(database);
  if (!version) return fail(version.error());

  {
    Query query = database.query("PRAGMA journal_mode = WAL");
    const auto row = query.next();
    if (!row) return fail(row.error());
    const std::string mode = *row ? query.text(0) : "";
    if (mode != "wal") {
      return fail(Errc::failed_precondition, "state store " + database.path() +
                                                 ": the file system cannot hold a write-ahead log (SQLite chose '" +
                                                 mode + "'); put the data directory on a local file system");
    }
  }
  // FULL syncs the log at every commit; Database::sync_commits() leaves that out for some. A log of 32 MiB is copied
  // into the file in one go: rows of one run lie far apart, and a page is written once for all that was changed in it
  // since. The journal limit gives the space of a burst back.
  auto set = database.execute(
      "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;"
      "PRAGMA cell_size_check = ON; PRAGMA wal_autocheckpoint = 8192; PRAGMA journal_size_limit = 67108864;");
  if (!set) return set;
  const auto page_bytes = number(database, "PRAGMA page_size");
  if (!page_bytes) return fail(page_bytes.error());
  const auto pages = std::max<std::uint64_t>(1, size_bytes_max / static_cast<std::uint64_t>(*page_bytes));
  const auto limited =
      number(database, "PRAGMA max_page_count = " + std::to_string(std::min<std::uint64_t>(pages, 0xfffffffe)));
  if (!limited) return fail(limited.error());
  return migrate(database, *version);
}

Result<std::string> store_id(Database& database) {
  Query query = database.query("SELECT id FROM store");
  const auto row = query.next();
  if (!row) return fail(row.error());
  std::string id = *row ? query.text(0) : std::string();
  if (id.size() == kStoreIdLength) return id;
  return fail(Errc::data_loss, "state store " + database.path() + ": its id is not there; restore it from a copy");
}

Result<void> prepare_for_reading(Database& database) {
  return database.execute("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;");
}

}  // namespace millrace::sqlite
