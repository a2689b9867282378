#include "state/sqlite/run_rows.h"

#include <string>
#include <utility>

#include "state/sqlite/attempt_rows.h"
#include "state/sqlite/columns.h"
#include "state/sqlite/seen_store.h"

namespace millrace::sqlite {
namespace {

// Column 0 is the row's number, which the outputs refer to.
const std::string kSelect = "SELECT id" + columns_of<RunRecord>().names + " FROM runs ";

Result<void> insert_outputs(Database& database, std::int64_t run, const std::vector<OutputFile>& outputs) {
  static const std::string kInsert = "INSERT INTO outputs (run, position" + columns_of<OutputFile>().names +
                                     ") VALUES (?, ?" + columns_of<OutputFile>().parameters + ")";
  std::int64_t position = 0;
  for (const OutputFile& output : outputs) {
    Query query = database.query(kInsert);
    query.bind(run);
    query.bind(position++);
    ColumnBinder binder{query};
    visit(binder, output);
    if (auto done = query.run(); !done) return done;
  }
  return {};
}

Result<std::vector<OutputFile>> outputs_of(Database& database, std::int64_t run) {
  static const std::string kOutputs =
      "SELECT " + columns_of<OutputFile>().names.substr(2) + " FROM outputs WHERE run = ? ORDER BY position";
  Query query = database.query(kOutputs);
  query.bind(run);
  std::vector<OutputFile> outputs;
  for (;;) {
    const auto row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return outputs;
    auto output = read_columns<OutputFile>(query, database, 0);
    if (!output) return fail(output.error());
    outputs.push_back(std::move(*output));
  }
}

Result<std::vector<RunRecord>> read_all(Query& query, Database& database) {
  std::vector<RunRecord> records;
  std::size_t outputs = 0;
  while (outputs < kListedOutputsMax) {
    const auto row = query.next();
    if (!row) return fail(row.error());
    if (!*row) break;
    auto record = read_columns<RunRecord>(query, database, 1);
    if (!record) return fail(record.error());
    auto files = outputs_of(database, query.integer(0));
    if (!files) return fail(files.error());
    outputs += files->size();
    record->outputs = std::move(*files);
    records.push_back(std::move(*record));
  }
  return records;
}

}  // namespace

Result<bool> insert_run(Database& database, const RunRecord& record) {
  static const std::string kInsert = "INSERT INTO runs (log_tail, result, finished_at" + columns_of<RunRecord>().names +
                                     ") VALUES (?, ?, ?" + columns_of<RunRecord>().parameters +
                                     ") ON CONFLICT (run_id) DO NOTHING";
  {
    Query query = database.query(kInsert);
    query.bind_blob(record.log_tail);
    query.bind_blob(record.result);
    query.bind(to_column(record.committed_at));
    ColumnBinder binder{query};
    visit(binder, record);
    if (const auto done = query.run(); !done) return fail(done.error());
  }
  if (database.changes() == 0) return false;
  if (const auto done = insert_outputs(database, database.last_row_id(), record.outputs); !done) {
    return fail(done.error());
  }
  if (const auto done = name_attempt(database, record); !done) return fail(done.error());
  return true;
}

Result<void> mark_run(Database& database, const RunId& run_id, const RunMarks& marks, WallTime now) {
  {
    Query query = database.query(
        "UPDATE runs SET placed = max(placed, ?), published = max(published, ?),"
        " finished_at = CASE WHEN placed <> 0 AND published <> 0 THEN finished_at ELSE ? END WHERE run_id = ?");
    query.bind(std::int64_t{marks.placed});
    query.bind(std::int64_t{marks.published});
    query.bind(to_column(now));
    query.bind(std::string_view(run_id.str()));
    if (const auto done = query.run(); !done) return done;
  }
  if (database.changes() == 0) return fail(Errc::not_found, "run " + run_id.str() + " has no record");
  for (const auto& [trigger, rows] : marks.seen) {
    if (const auto done = write_seen(database, trigger, rows); !done) return done;
  }
  return {};
}

Result<std::optional<RunRecord>> find_run(Database& database, const RunId& run_id) {
  static const std::string kFind =
      "SELECT id, log_tail, result" + columns_of<RunRecord>().names + " FROM runs WHERE run_id = ?";
  Query query = database.query(kFind);
  query.bind(run_id.str());
  const auto row = query.next();
  if (!row) return fail(row.error());
  if (!*row) return std::optional<RunRecord>();
  auto record = read_columns<RunRecord>(query, database, 3);
  if (!record) return fail(record.error());
  record->log_tail = query.text(1);
  record->result = query.text(2);
  auto outputs = outputs_of(database, query.integer(0));
  if (!outputs) return fail(outputs.error());
  record->outputs = std::move(*outputs);
  return std::optional(std::move(*record));
}

Result<std::vector<RunRecord>> list_runs(Database& database, const RunFilter& filter) {
  std::int64_t before = 0;
  if (!filter.before.empty()) {
    Query query = database.query("SELECT committed_at FROM runs WHERE run_id = ?");
    query.bind(filter.before.str());
    const auto row = query.next();
    if (!row) return fail(row.error());
    if (!*row)
      return fail(Errc::not_found, "list runs: the run to go on from, " + filter.before.str() + ", is not there");
    before = query.integer(0);
  }
  // One text per combination of filters, so that each finds its index.
  std::string sql = kSelect + "WHERE true";
  if (!filter.function.empty()) sql += " AND function = ?";
  // The rare outcomes have an index, which SQLite only takes when it can see that they are not 'succeeded'.
  if (filter.outcome) sql += " AND outcome = ?";
  if (filter.outcome && *filter.outcome != RunOutcome::succeeded) sql += " AND outcome <> 'succeeded'";
  if (filter.since) sql += " AND committed_at >= ?";
  if (!filter.before.empty()) sql += " AND (committed_at, run_id) < (?, ?)";
  sql += " ORDER BY committed_at DESC, run_id DESC LIMIT ?";

  Query query = database.query(sql);
  if (!filter.function.empty()) query.bind(std::string_view(filter.function));
  if (filter.outcome) query.bind(name_of(*filter.outcome));
  if (filter.since) query.bind(to_column(*filter.since));
  if (!filter.before.empty()) {
    query.bind(before);
    query.bind(std::string_view(filter.before.str()));
  }
  query.bind(static_cast<std::int64_t>(filter.limit));
  return read_all(query, database);
}

Result<std::vector<RunRecord>> runs_unfinished(Database& database, WallTime before, const RunId& after,
                                               std::size_t limit) {
  static const std::string kOldest = kSelect + "WHERE (placed = 0 OR published = 0) AND committed_at < ? ";
  static const std::string kAfter =
      kOldest + "AND (committed_at, run_id) > (SELECT committed_at, run_id FROM runs WHERE run_id = ?) ";
  static const std::string kOrder = "ORDER BY committed_at, run_id LIMIT ?";
  Query query = database.query((after.empty() ? kOldest : kAfter) + kOrder);
  query.bind(to_column(before));
  if (!after.empty()) query.bind(std::string_view(after.str()));
  query.bind(static_cast<std::int64_t>(limit));
  return read_all(query, database);
}

Result<Order> newest_order(Database& database) {
  Query query = database.query("SELECT coalesce(max(event_order), '') FROM runs");
  const auto row = query.next();
  if (!row) return fail(row.error());
  return Order(query.text(0));
}

Result<std::vector<RunRecord>> runs_of_event(Database& database, const EventId& event_id) {
  static const std::string kOfEvent = kSelect + "WHERE event_id = ? ORDER BY committed_at, run_id LIMIT ?";
  Query query = database.query(kOfEvent);
  query.bind(event_id.str());
  query.bind(static_cast<std::int64_t>(kRunListMax));
  return read_all(query, database);
}

Result<std::vector<RunRecord>> runs_caused_by(Database& database, const RunId& run_id) {
  static const std::string kCausedBy =
      kSelect + "WHERE cause = ? AND cause <> '' ORDER BY committed_at, run_id LIMIT ?";
  Query query = database.query(kCausedBy);
  query.bind(run_id.str());
  query.bind(static_cast<std::int64_t>(kRunListMax));
  return read_all(query, database);
}

}  // namespace millrace::sqlite
