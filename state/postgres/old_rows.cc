#include "state/postgres/old_rows.h"

#include <string>

#include "state/postgres/columns.h"

namespace millrace::postgres {
namespace {

const Statement kBeforeLast{"committed_before_last",
                            "SELECT committed_at FROM runs ORDER BY committed_at DESC, run_id DESC OFFSET $1 LIMIT 1"};

const std::string kOver =
    "runs.placed AND runs.published"
    " AND NOT EXISTS (SELECT FROM attempts AS other WHERE other.run_id = runs.run_id"
    " AND (other.directory = 1 OR (other.outcome IS NULL AND NOT other.named)))";

const std::string kSelectRemovable =
    "SELECT runs.run_id, runs.event_id, own.bucket, own.token FROM runs"
    " LEFT JOIN attempts AS own ON own.token = runs.token AND own.directory <> 0 WHERE " +
    kOver +
    " AND NOT EXISTS (SELECT FROM runs AS cause WHERE cause.run_id = runs.cause"
    " AND NOT (cause.placed AND cause.published))"
    " AND NOT EXISTS (SELECT FROM runs AS later WHERE later.event_id = runs.event_id"
    " AND later.function_uid = runs.function_uid AND later.generation > runs.generation)"
    " AND runs.finished_at < $1";
const std::string kOldestFirst = " ORDER BY runs.finished_at, runs.run_id LIMIT $2";
const Statement kRemovable{"removable_runs", kSelectRemovable + kOldestFirst};
const Statement kRemovableAfter{
    "removable_runs_after",
    kSelectRemovable +
        " AND (runs.finished_at, runs.run_id) > (SELECT finished_at, run_id FROM runs AS last WHERE last.run_id = $3)" +
        kOldestFirst};

const Statement kRemove{"remove_runs", "WITH gone AS (DELETE FROM runs WHERE run_id = ANY($1::bytea[]) AND " + kOver +
                                           " RETURNING run_id), theirs AS (DELETE FROM attempts USING gone"
                                           " WHERE attempts.run_id = gone.run_id) SELECT count(*) FROM gone"};

const Statement kRemoveLone{
    "remove_lone_attempts",
    "WITH gone AS (DELETE FROM attempts WHERE token IN (SELECT token FROM attempts WHERE outcome IS NOT NULL"
    " AND directory = 0 AND NOT named AND started_at < $1"
    " AND NOT EXISTS (SELECT FROM runs WHERE runs.run_id = attempts.run_id) ORDER BY started_at LIMIT $2)"
    " RETURNING 1) SELECT count(*) FROM gone"};

}  // namespace

Query committed_before_last(std::size_t count) {
  Query query(kBeforeLast);
  query.parameters.add(static_cast<std::int64_t>(count));
  return query;
}

Query removable_runs(WallTime before, const RunId& after, std::size_t limit) {
  Query query(after.empty() ? kRemovable : kRemovableAfter);
  query.parameters.add(to_column(before));
  query.parameters.add(static_cast<std::int64_t>(limit));
  if (!after.empty()) query.parameters.add(after.str());
  return query;
}

Query remove_runs(const std::vector<RunId>& run_ids) {
  Query query(kRemove);
  query.parameters.add(Array::of_ids(run_ids));
  return query;
}

Query remove_lone_attempts(WallTime before, std::size_t limit) {
  Query query(kRemoveLone);
  query.parameters.add(to_column(before));
  query.parameters.add(static_cast<std::int64_t>(limit));
  return query;
}

std::vector<OldRun> read_removable(const Answer& answer) {
  std::vector<OldRun> found;
  for (int row = 0; row < answer.rows(); ++row) {
    found.push_back({.run_id = RunId(answer.text(row, 0)),
                     .event_id = EventId(answer.text(row, 1)),
                     .bucket = answer.text(row, 2),  // empty where there is no directory
                     .token = AttemptToken(answer.text(row, 3))});
  }
  return found;
}

std::vector<Statement> old_row_statements() {
  return {kBeforeLast, kRemovable, kRemovableAfter, kRemove, kRemoveLone};
}

}  // namespace millrace::postgres
