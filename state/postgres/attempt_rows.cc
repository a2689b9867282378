#include "state/postgres/attempt_rows.h"

#include <utility>

#include "state/postgres/columns.h"

namespace millrace::postgres {
namespace {

// The number of the first parameter behind an attempt's columns.
const int kBehind = column_count<Attempt>() + 1;

const std::string kSelect = "SELECT " + names<Attempt>() + " FROM attempts ";

const Statement kBegin{
    "begin_attempt",
    "WITH standing AS (SELECT FROM runs WHERE run_id = " + placeholder(kBehind) +
        "::bytea),"
        " begun AS (INSERT INTO attempts (" +
        names<Attempt>() + ", named, directory) SELECT " + placeholders<Attempt>(1) +
        ", false, 1 WHERE NOT EXISTS (SELECT FROM standing) ON CONFLICT (token) DO NOTHING RETURNING 1)"
        " SELECT EXISTS (SELECT FROM standing), EXISTS (SELECT FROM begun)"};

std::string set_end(const std::string& condition) {
  return "WITH known AS (SELECT FROM attempts WHERE token = $1),"
         " over AS (UPDATE attempts SET ended_at = $2, outcome = $3, exit_code = $4, signal = $5, message = $6,"
         " (" +
         names<Usage>() + ") = ROW(" + placeholders<Usage>(7) + ") WHERE token = $1 AND outcome IS NULL" + condition +
         " RETURNING 1) SELECT EXISTS (SELECT FROM known), EXISTS (SELECT FROM over)";
}

const Statement kEnd{"end_attempt", set_end("")};
const Statement kAbandon{"abandon_attempt", set_end(" AND NOT named")};

const Statement kOf{"attempts_of", kSelect + "WHERE run_id = $1 ORDER BY started_at, token"};
const Statement kOpen{
    "attempts_open",
    kSelect + "WHERE outcome IS NULL AND NOT named AND started_at < $1 ORDER BY started_at, token LIMIT $2"};
const Statement kOpenAfter{"attempts_open_after",
                           kSelect +
                               "WHERE outcome IS NULL AND NOT named AND started_at < $1 AND (started_at, token) >"
                               " (SELECT started_at, token FROM attempts WHERE token = $3)"
                               " ORDER BY started_at, token LIMIT $2"};
const Statement kStale{"attempts_stale",
                       kSelect +
                           "WHERE outcome IS NOT NULL AND directory = 1 AND (outcome <> 'succeeded' OR"
                           " EXISTS (SELECT FROM runs WHERE runs.run_id = attempts.run_id))"
                           " ORDER BY started_at, token LIMIT $1"};
const Statement kForget{"forget_directory", "UPDATE attempts SET directory = 0 WHERE token = $1 AND directory <> 0"};
const Statement kUnclaimed{"attempts_unclaimed",
                           "SELECT asked.token FROM unnest($1::bytea[]) AS asked(token) WHERE NOT EXISTS"
                           " (SELECT FROM attempts WHERE attempts.token = asked.token AND attempts.directory <> 0)"};

}  // namespace

Query begin_attempt(const Attempt& attempt) {
  Query query(kBegin);
  bind(query.parameters, attempt);
  query.parameters.add(attempt.run_id.str());
  return query;
}

Query end_attempt(const Attempt& attempt, bool unless_named) {
  Query query(unless_named ? kAbandon : kEnd);
  Binder binder{query.parameters};
  binder("token", attempt.token);
  binder("ended_at", attempt.ended_at);
  binder("outcome", attempt.outcome);
  binder("exit_code", attempt.exit_code);
  binder("signal", attempt.signal);
  binder("message", attempt.message);
  bind(query.parameters, attempt.usage);
  return query;
}

Query attempts_of(const RunId& run_id) {
  Query query(kOf);
  query.parameters.add(run_id.str());
  return query;
}

Query attempts_open(WallTime before, const AttemptToken& after, std::size_t limit) {
  Query query(after.empty() ? kOpen : kOpenAfter);
  query.parameters.add(to_column(before));
  query.parameters.add(static_cast<std::int64_t>(limit));
  if (!after.empty()) query.parameters.add(after.str());
  return query;
}

Query attempts_stale(std::size_t limit) {
  Query query(kStale);
  query.parameters.add(static_cast<std::int64_t>(limit));
  return query;
}

Query forget_directory(const AttemptToken& token) {
  Query query(kForget);
  query.parameters.add(token.str());
  return query;
}

Query attempts_unclaimed(const std::vector<AttemptToken>& tokens) {
  Query query(kUnclaimed);
  query.parameters.add(Array::of_ids(tokens));
  return query;
}

Result<std::vector<Attempt>> read_attempts(const Answer& answer) {
  std::vector<Attempt> attempts;
  for (int row = 0; row < answer.rows(); ++row) {
    auto attempt = read<Attempt>(answer, row, 0);
    if (!attempt) return fail(attempt.error());
    attempts.push_back(std::move(*attempt));
  }
  return attempts;
}

std::vector<Statement> attempt_statements() {
  return {kBegin, kEnd, kAbandon, kOf, kOpen, kOpenAfter, kStale, kForget, kUnclaimed};
}

}  // namespace millrace::postgres
