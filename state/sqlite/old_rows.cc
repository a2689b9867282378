#include "state/sqlite/old_rows.h"

#include <utility>

#include "state/sqlite/columns.h"

namespace millrace::sqlite {
namespace {

// Rows are numbered in the order of their commits, and removed ones leave gaps: a row with so many numbers behind it
// has at least so many later ones, or had them.
const std::string kBeforeLast =
    "SELECT committed_at FROM runs WHERE id <= (SELECT max(id) FROM runs) - ? ORDER BY id DESC LIMIT 1";

const std::string kOver =
    "runs.placed <> 0 AND runs.published <> 0"
    " AND NOT EXISTS (SELECT 1 FROM attempts AS other WHERE other.run_id = runs.run_id"
    " AND (other.directory = 1 OR (other.outcome IS NULL AND other.named = 0)))";

const std::string kRemovable =
    "SELECT runs.run_id, runs.event_id, own.bucket, own.token FROM runs"
    " LEFT JOIN attempts AS own ON own.token = runs.token AND own.directory <> 0 WHERE " +
    kOver +
    " AND NOT EXISTS (SELECT 1 FROM runs AS cause WHERE cause.run_id = runs.cause"
    " AND (cause.placed = 0 OR cause.published = 0))"
    " AND NOT EXISTS (SELECT 1 FROM runs AS later WHERE later.event_id = runs.event_id"
    " AND later.function_uid = runs.function_uid AND later.generation > runs.generation)"
    " AND runs.finished_at < ? ";
const std::string kRemovableAfter =
    kRemovable + "AND (runs.finished_at, runs.id) > (SELECT finished_at, id FROM runs WHERE run_id = ?) ";
const std::string kRemovableOrder = "ORDER BY runs.finished_at, runs.id LIMIT ?";

const std::string kNumber = "SELECT id FROM runs WHERE run_id = ? AND " + kOver;
const std::string kRemoveOutputs = "DELETE FROM outputs WHERE run = ?";
const std::string kRemoveAttempts = "DELETE FROM attempts WHERE run_id = ?";
const std::string kRemoveRun = "DELETE FROM runs WHERE id = ?";

const std::string kRemoveLone =
    "DELETE FROM attempts WHERE token IN (SELECT token FROM attempts WHERE outcome IS NOT NULL AND directory = 0"
    " AND named = 0 AND started_at < ? AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = attempts.run_id)"
    " ORDER BY started_at LIMIT ?)";

Result<std::optional<std::int64_t>> number_of(Database& database, const RunId& run_id) {
  Query query = database.query(kNumber);
  query.bind(std::string_view(run_id.str()));
  const auto row = query.next();
  if (!row) return fail(row.error());
  return *row ? std::optional(query.integer(0)) : std::nullopt;
}

Result<void> remove_by_number(Database& database, const std::string& sql, std::int64_t number) {
  Query query = database.query(sql);
  query.bind(number);
  return query.run();
}

Result<void> remove_attempts(Database& database, const RunId& run_id) {
  Query query = database.query(kRemoveAttempts);
  query.bind(std::string_view(run_id.str()));
  return query.run();
}

}  // namespace

Result<std::optional<WallTime>> committed_before_last(Database& database, std::size_t count) {
  Query query = database.query(kBeforeLast);
  query.bind(static_cast<std::int64_t>(count));
  const auto row = query.next();
  if (!row) return fail(row.error());
  return *row ? std::optional(time_from_column(query.integer(0))) : std::nullopt;
}

Result<std::vector<OldRun>> removable_runs(Database& database, WallTime before, const RunId& after, std::size_t limit) {
  Query query = database.query((after.empty() ? kRemovable : kRemovableAfter) + kRemovableOrder);
  query.bind(to_column(before));
  if (!after.empty()) query.bind(std::string_view(after.str()));
  query.bind(static_cast<std::int64_t>(limit));
  std::vector<OldRun> found;
  for (;;) {
    const auto row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return found;
    found.push_back({.run_id = RunId(query.text(0)),
                     .event_id = EventId(query.text(1)),
                     .bucket = query.text(2),
                     .token = AttemptToken(query.text(3))});
  }
}

Result<std::size_t> remove_runs(Database& database, const std::vector<RunId>& run_ids) {
  std::size_t removed = 0;
  for (const RunId& run_id : run_ids) {
    const auto number = number_of(database, run_id);
    if (!number) return fail(number.error());
    if (!*number) continue;
    if (const auto done = remove_by_number(database, kRemoveOutputs, **number); !done) return fail(done.error());
    if (const auto done = remove_attempts(database, run_id); !done) return fail(done.error());
    if (const auto done = remove_by_number(database, kRemoveRun, **number); !done) return fail(done.error());
    ++removed;
  }
  return removed;
}

Result<std::size_t> remove_lone_attempts(Database& database, WallTime before, std::size_t limit) {
  {
    Query query = database.query(kRemoveLone);
    query.bind(to_column(before));
    query.bind(static_cast<std::int64_t>(limit));
    if (const auto done = query.run(); !done) return fail(done.error());
  }
  return static_cast<std::size_t>(database.changes());
}

std::vector<std::string> old_row_statements() {
  return {kBeforeLast,
          kRemovable + kRemovableOrder,
          kRemovableAfter + kRemovableOrder,
          kNumber,
          kRemoveOutputs,
          kRemoveAttempts,
          kRemoveRun,
          kRemoveLone};
}

}  // namespace millrace::sqlite
