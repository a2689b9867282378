#include "state/postgres/run_rows.h"

#include <utility>

#include "state/checks.h"
#include "state/postgres/columns.h"
#include "state/postgres/outputs.h"
#include "state/postgres/seen_store.h"

namespace millrace::postgres {
namespace {

// The columns in the order in which they are written and read: the record's, then those of its outputs.
const std::string kColumns = names<RunRecord>() + ", " + names<OutputFile>(kOutputPrefix);
const int kOutputs = column_count<RunRecord>();            // the first of the outputs' columns, counted from 0
const int kBehind = kOutputs + output_column_count() + 1;  // the first parameter behind all columns

// $n of the parameters behind the columns, in the order in which insert_run() adds them.
std::string extra(int number) {
  return placeholder(kBehind + number);
}

// The row, and what the commit says of its attempt, in one step: that it is named, that its directory holds the row's
// outputs, and how it ended, where the row alone says so. The attempt's row is locked before anything is decided: of a
// commit with outputs and a sweeper that gives the attempt up, one comes first, and the other sees it. The lock stands
// in a step of its own, since a condition on the outcome would be tried before it, on the row as it was.
const Statement kInsert{
    "insert_run", "WITH own AS MATERIALIZED (SELECT outcome FROM attempts WHERE token = " + extra(5) +
                      "::bytea FOR NO KEY UPDATE), lost AS (SELECT FROM own WHERE outcome = 'lost'), won AS (INSERT"
                      " INTO runs (" +
                      kColumns + ", log_tail, result, output_count, finished_at) SELECT " + placeholders<RunRecord>(1) +
                      ", " + output_placeholders(kOutputs + 1) + ", " + extra(0) + "::bytea, " + extra(1) +
                      "::bytea, " + extra(2) + "::bigint, " + extra(3) + "::bigint WHERE " + extra(2) +
                      "::bigint = 0 OR NOT EXISTS (SELECT FROM lost) ON CONFLICT (run_id) DO NOTHING RETURNING token),"
                      " named AS (UPDATE attempts SET named = true, outcome = COALESCE(outcome, " +
                      extra(4) + "::text), ended_at = CASE WHEN outcome IS NULL AND " + extra(4) +
                      "::text IS NOT NULL THEN " + extra(3) + "::bigint ELSE ended_at END, directory = CASE WHEN " +
                      extra(2) +
                      "::bigint > 0 AND directory = 1 THEN 2 ELSE directory END"
                      " FROM won WHERE attempts.token = won.token)"
                      " SELECT EXISTS (SELECT FROM won), EXISTS (SELECT FROM lost)"};

const Statement kMark{"mark_run",
                      "WITH marked AS (UPDATE runs SET placed = placed OR $2, published = published OR $3,"
                      " finished_at = CASE WHEN placed AND published THEN finished_at ELSE $4::bigint END"
                      " WHERE run_id = $1 RETURNING 1), seen AS (" +
                          insert_seen(5, "EXISTS (SELECT FROM marked)") + ") SELECT EXISTS (SELECT FROM marked)"};

const Statement kFind{"find_run", "SELECT " + kColumns + ", log_tail, result FROM runs WHERE run_id = $1"};
const Statement kCommitTime{"commit_time_of", "SELECT committed_at FROM runs WHERE run_id = $1"};

// A page of records that ends behind the one with which it has kListedOutputsMax outputs.
std::string page(const std::string& condition, const std::string& order, const std::string& limit) {
  return "SELECT " + kColumns + " FROM (SELECT *, COALESCE(sum(output_count) OVER (ORDER BY " + order +
         " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS outputs_before FROM (SELECT " + kColumns +
         ", output_count FROM runs WHERE " + condition + " ORDER BY " + order + " LIMIT " + limit +
         ") AS page) AS counted WHERE outputs_before < " + std::to_string(kListedOutputsMax) + " ORDER BY " + order;
}

const std::string kOldestFirst = "committed_at, run_id";
const std::string kNewestFirst = "committed_at DESC, run_id DESC";
const std::string kMissesAMark = "NOT (placed AND published) AND committed_at < $1";

const Statement kUnfinished{"runs_unfinished", page(kMissesAMark, kOldestFirst, "$2")};
const Statement kUnfinishedAfter{
    "runs_unfinished_after",
    page(kMissesAMark + " AND (committed_at, run_id) > (SELECT committed_at, run_id FROM runs WHERE run_id = $3)",
         kOldestFirst, "$2")};
const Statement kNewestOrder{"newest_order", "SELECT event_order FROM runs ORDER BY event_order DESC LIMIT 1"};
const Statement kOfEvent{"runs_of_event", page("event_id = $1", kOldestFirst, "$2")};
const Statement kCausedBy{"runs_caused_by", page("cause = $1 AND cause <> ''", kOldestFirst, "$2")};

Result<RunRecord> read_record(const Answer& answer, int row) {
  auto record = read<RunRecord>(answer, row, 0);
  if (!record) return record;
  auto outputs = read_outputs(answer, row, kOutputs);
  if (!outputs) return fail(outputs.error());
  record->outputs = std::move(*outputs);
  return record;
}

}  // namespace

Query insert_run(const RunRecord& record) {
  Query query(kInsert);
  Parameters& parameters = query.parameters;
  bind(parameters, record);
  bind_outputs(parameters, record.outputs);
  parameters.add(record.log_tail);
  parameters.add(record.result);
  parameters.add(static_cast<std::int64_t>(record.outputs.size()));
  parameters.add(to_column(record.committed_at));
  const auto end = state::end_of_attempt(record);
  end ? parameters.add(name_of(*end)) : parameters.add_null();
  parameters.add(record.token.str());
  return query;
}

Query mark_run(const RunId& run_id, const RunMarks& marks, WallTime now) {
  Query query(kMark);
  query.parameters.add(run_id.str());
  query.parameters.add(marks.placed);
  query.parameters.add(marks.published);
  query.parameters.add(to_column(now));
  bind_seen(query.parameters, marks.seen);
  return query;
}

Query find_run(const RunId& run_id) {
  Query query(kFind);
  query.parameters.add(run_id.str());
  return query;
}

Query commit_time_of(const RunId& run_id) {
  Query query(kCommitTime);
  query.parameters.add(run_id.str());
  return query;
}

// One text per combination of filters, so that each finds its index.
Query list_runs(const RunFilter& filter, WallTime before) {
  Parameters parameters;
  int count = 0;
  const auto next = [&count](const char* type) { return placeholder(++count) + "::" + type; };
  std::string condition = "true";
  if (!filter.function.empty()) {
    condition += " AND function = " + next("bytea");
    parameters.add(filter.function);
  }
  if (filter.outcome) {
    // As a literal: the index of the rare outcomes serves only what is seen not to be 'succeeded'.
    condition += " AND outcome = '" + std::string(name_of(*filter.outcome)) + "'";
  }
  if (filter.since) {
    condition += " AND committed_at >= " + next("bigint");
    parameters.add(to_column(*filter.since));
  }
  if (!filter.before.empty()) {
    const std::string time = next("bigint");
    condition += " AND (committed_at, run_id) < (" + time + ", " + next("bytea") + ")";
    parameters.add(to_column(before));
    parameters.add(filter.before.str());
  }
  Query query(page(condition, kNewestFirst, next("bigint")));
  parameters.add(static_cast<std::int64_t>(filter.limit));
  query.parameters = std::move(parameters);
  return query;
}

Query runs_unfinished(WallTime before, const RunId& after, std::size_t limit) {
  Query query(after.empty() ? kUnfinished : kUnfinishedAfter);
  query.parameters.add(to_column(before));
  query.parameters.add(static_cast<std::int64_t>(limit));
  if (!after.empty()) query.parameters.add(after.str());
  return query;
}

Query newest_order() {
  return Query(kNewestOrder);
}

Query runs_of_event(const EventId& event_id) {
  Query query(kOfEvent);
  query.parameters.add(event_id.str());
  query.parameters.add(static_cast<std::int64_t>(kRunListMax));
  return query;
}

Query runs_caused_by(const RunId& run_id) {
  Query query(kCausedBy);
  query.parameters.add(run_id.str());
  query.parameters.add(static_cast<std::int64_t>(kRunListMax));
  return query;
}

Result<std::optional<RunRecord>> read_found(const Answer& answer) {
  if (answer.rows() == 0) return std::optional<RunRecord>();
  auto record = read_record(answer, 0);
  if (!record) return fail(record.error());
  const int behind = kOutputs + output_column_count();
  record->log_tail = answer.text(0, behind);
  record->result = answer.text(0, behind + 1);
  return std::optional(std::move(*record));
}

Result<std::vector<RunRecord>> read_listed(const Answer& answer) {
  std::vector<RunRecord> records;
  for (int row = 0; row < answer.rows(); ++row) {
    auto record = read_record(answer, row);
    if (!record) return fail(record.error());
    records.push_back(std::move(*record));
  }
  return records;
}

std::vector<Statement> run_statements() {
  return {kInsert, kMark, kFind, kCommitTime, kUnfinished, kUnfinishedAfter, kNewestOrder, kOfEvent, kCausedBy};
}

}  // namespace millrace::postgres
