#include "state/postgres/schema.h"

#include <array>

namespace millrace::postgres {
namespace {

// Ids and names are BYTEA: a key is a file name, which may hold any bytes, and bytes sort alike whatever the database's
// collation. `SET bytea_output = escape` shows them readably.
//
// attempts.named: a run's row names this attempt. attempts.directory: 0 none or removed, 1 is there, 2 is there and
// holds the outputs of the row. Both are kept by the commit, so that the sweeper's questions are answered from small
// indexes instead of looking at every run there ever was.
//
// A run's outputs are arrays in its row, all of one length: the row is written by one insert and read by one look, and
// nobody asks for an output but through its run. The view `outputs` shows them one by one.
//
// runs.finished_at: when the row had both marks; before, the time of its commit.
//
// Keys of files are indexed by their hash: an index entry holds 2,700 bytes, a path up to 4,096.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE functions (
  name BYTEA PRIMARY KEY,
  spec BYTEA NOT NULL
);

CREATE TABLE attempts (
  token BYTEA PRIMARY KEY,
  run_id BYTEA NOT NULL,
  bucket BYTEA NOT NULL,
  node BYTEA NOT NULL,
  started_at BIGINT NOT NULL,
  ended_at BIGINT NOT NULL,
  outcome TEXT,
  exit_code BIGINT NOT NULL,
  signal BIGINT NOT NULL,
  message BYTEA NOT NULL,
  wall_us BIGINT NOT NULL,
  queued_us BIGINT NOT NULL,
  start_us BIGINT NOT NULL,
  cpu_us BIGINT NOT NULL,
  memory_peak_bytes BIGINT NOT NULL,
  rss_peak_bytes BIGINT NOT NULL,
  read_bytes BIGINT NOT NULL,
  written_bytes BIGINT NOT NULL,
  throttled_us BIGINT NOT NULL,
  output_bytes BIGINT NOT NULL,
  named BOOLEAN NOT NULL,
  directory BIGINT NOT NULL
);
CREATE INDEX attempts_by_run ON attempts (run_id, started_at);
CREATE INDEX attempts_open ON attempts (started_at, token) WHERE outcome IS NULL AND NOT named;
CREATE INDEX attempts_ended ON attempts (started_at, token) WHERE outcome IS NOT NULL AND directory = 1;
CREATE INDEX attempts_over ON attempts (started_at) WHERE outcome IS NOT NULL AND directory = 0 AND NOT named;

CREATE TABLE runs (
  run_id BYTEA PRIMARY KEY,
  event_id BYTEA NOT NULL,
  function BYTEA NOT NULL,
  function_uid BYTEA NOT NULL,
  revision BIGINT NOT NULL,
  generation BIGINT NOT NULL,
  event_order BYTEA NOT NULL,
  cause BYTEA NOT NULL,
  hops BIGINT NOT NULL,
  outcome TEXT NOT NULL,
  reason BYTEA NOT NULL,
  exit_code BIGINT NOT NULL,
  signal BIGINT NOT NULL,
  failures BIGINT NOT NULL,
  losses BIGINT NOT NULL,
  token BYTEA NOT NULL,
  node BYTEA NOT NULL,
  queued_at BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  committed_at BIGINT NOT NULL,
  finished_at BIGINT NOT NULL,
  log_bytes BIGINT NOT NULL,
  placed BOOLEAN NOT NULL,
  published BOOLEAN NOT NULL,
  wall_us BIGINT NOT NULL,
  queued_us BIGINT NOT NULL,
  start_us BIGINT NOT NULL,
  cpu_us BIGINT NOT NULL,
  memory_peak_bytes BIGINT NOT NULL,
  rss_peak_bytes BIGINT NOT NULL,
  read_bytes BIGINT NOT NULL,
  written_bytes BIGINT NOT NULL,
  throttled_us BIGINT NOT NULL,
  output_bytes BIGINT NOT NULL,
  has_input BOOLEAN NOT NULL,
  input_store BYTEA NOT NULL,
  input_bucket BYTEA NOT NULL,
  input_key BYTEA NOT NULL,
  input_size_bytes BIGINT NOT NULL,
  input_mtime_ns BIGINT NOT NULL,
  input_inode BIGINT NOT NULL,
  input_private_path BYTEA NOT NULL,
  output_count BIGINT NOT NULL,
  output_name BYTEA[] NOT NULL,
  output_store BYTEA[] NOT NULL,
  output_bucket BYTEA[] NOT NULL,
  output_key BYTEA[] NOT NULL,
  output_source_path BYTEA[] NOT NULL,
  output_placed_size_bytes BIGINT[] NOT NULL,
  output_placed_mtime_ns BIGINT[] NOT NULL,
  output_placed_inode BIGINT[] NOT NULL,
  output_private_path BYTEA[] NOT NULL,
  output_size_bytes BIGINT[] NOT NULL,
  output_mtime_ns BIGINT[] NOT NULL,
  output_inode BIGINT[] NOT NULL,
  output_sha256 BYTEA[] NOT NULL,
  log_tail BYTEA NOT NULL,
  result BYTEA NOT NULL
);
CREATE INDEX runs_by_time ON runs (committed_at, run_id);
CREATE INDEX runs_by_function ON runs (function, committed_at, run_id);
CREATE INDEX runs_by_outcome ON runs (outcome, committed_at, run_id) WHERE outcome <> 'succeeded';
CREATE INDEX runs_unfinished ON runs (committed_at, run_id) WHERE NOT (placed AND published);
CREATE INDEX runs_finished ON runs (finished_at, run_id) WHERE placed AND published;
CREATE INDEX runs_by_event ON runs (event_id, committed_at, run_id);
CREATE INDEX runs_by_cause ON runs (cause, committed_at, run_id) WHERE cause <> '';

CREATE VIEW outputs AS
SELECT run_id, each.*
FROM runs, unnest(output_name, output_store, output_bucket, output_key, output_source_path, output_private_path,
                  output_size_bytes, output_sha256)
  AS each(name, store, bucket, key, source_path, private_path, size_bytes, sha256);

CREATE TABLE seen (
  trigger_id BYTEA NOT NULL,
  key BYTEA NOT NULL,
  event_id BYTEA NOT NULL
);
CREATE UNIQUE INDEX seen_by_key ON seen (trigger_id, sha256(key));

CREATE TABLE seen_filled (
  trigger_id BYTEA PRIMARY KEY
);
)sql";

// functions.revision: of the spec; 0 where an earlier build wrote it.
//
// nodes: the daemons that share this database. Their leases are by the server's clock.
constexpr const char* kVersion2 = R"sql(
ALTER TABLE functions ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;

CREATE TABLE nodes (
  name BYTEA PRIMARY KEY,
  identity BYTEA NOT NULL,
  session BYTEA NOT NULL,
  broker BYTEA NOT NULL,
  roles BYTEA NOT NULL,
  version BYTEA NOT NULL,
  address BYTEA NOT NULL,
  started_at BIGINT NOT NULL,
  running BIGINT NOT NULL,
  memory_bytes BIGINT NOT NULL,
  memory_free_bytes BIGINT NOT NULL,
  cpu_millicores BIGINT NOT NULL,
  cpu_free_millicores BIGINT NOT NULL,
  beaten_at TIMESTAMPTZ NOT NULL,
  lease_until TIMESTAMPTZ NOT NULL
);
)sql";

constexpr const char* kVersion3 = R"sql(
ALTER TABLE attempts ADD COLUMN memory_limit_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN memory_limit_bytes BIGINT NOT NULL DEFAULT 0;
)sql";

// See StateStore::id().
constexpr const char* kVersion4 = R"sql(
CREATE TABLE store (
  id BYTEA NOT NULL
);
INSERT INTO store VALUES (convert_to(left(md5(random()::text || clock_timestamp()::text), 8), 'UTF8'));
)sql";

constexpr const char* kVersion5 = R"sql(
ALTER TABLE runs ADD COLUMN result_truncated BOOLEAN NOT NULL DEFAULT false;
)sql";

constexpr const char* kVersion6 = R"sql(
CREATE INDEX runs_by_order ON runs (event_order);
)sql";

constexpr std::array<const char*, 6> kMigrations = {kVersion1, kVersion2, kVersion3, kVersion4, kVersion5, kVersion6};

}  // namespace

std::span<const char* const> migrations() {
  return kMigrations;
}

}  // namespace millrace::postgres
