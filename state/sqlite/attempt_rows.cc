#include "state/sqlite/attempt_rows.h"

#include <utility>

#include "state/checks.h"
#include "state/sqlite/columns.h"

namespace millrace::sqlite {
namespace {

const std::string kSelect = "SELECT " + columns_of<Attempt>().names.substr(2) + " FROM attempts ";

Result<std::vector<Attempt>> read_all(Query& query, const Database& database) {
  std::vector<Attempt> attempts;
  for (;;) {
    const auto row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return attempts;
    auto attempt = read_columns<Attempt>(query, database, 0);
    if (!attempt) return fail(attempt.error());
    attempts.push_back(std::move(*attempt));
  }
}

}  // namespace

Result<void> insert_attempt(Database& database, const Attempt& attempt) {
  static const std::string kInsert = "INSERT INTO attempts (named, directory" + columns_of<Attempt>().names +
                                     ") VALUES (0, 1" + columns_of<Attempt>().parameters +
                                     ") ON CONFLICT (token) DO NOTHING";
  Query query = database.query(kInsert);
  ColumnBinder binder{query};
  visit(binder, attempt);
  if (const auto done = query.run(); !done) return done;
  if (database.changes() == 0) {
    return fail(Errc::already_exists, "attempt " + attempt.token.str() + " has begun already");
  }
  return {};
}

Result<void> finish_attempt(Database& database, const Attempt& attempt) {
  {
    Query query = database.query("SELECT outcome FROM attempts WHERE token = ?");
    query.bind(attempt.token.str());
    const auto row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return fail(Errc::not_found, "attempt " + attempt.token.str() + " never began");
    if (!query.is_null(0)) return {};
  }
  Query query = database.query(
      "UPDATE attempts SET ended_at = ?, outcome = ?, exit_code = ?, signal = ?, message = ?, wall_us = ?, queued_us = "
      "?,"
      " start_us = ?, cpu_us = ?, memory_peak_bytes = ?, rss_peak_bytes = ?, read_bytes = ?, written_bytes = ?,"
      " throttled_us = ?, output_bytes = ?, memory_limit_bytes = ? WHERE token = ?");
  ColumnBinder binder{query};
  binder("ended_at", attempt.ended_at);
  binder("outcome", attempt.outcome);
  binder("exit_code", attempt.exit_code);
  binder("signal", attempt.signal);
  binder("message", attempt.message);
  visit(binder, attempt.usage);
  binder("token", attempt.token);
  return query.run();
}

Result<bool> abandon_attempt(Database& database, const Attempt& attempt) {
  {
    Query query = database.query("SELECT outcome, named FROM attempts WHERE token = ?");
    query.bind(std::string_view(attempt.token.str()));
    const auto row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return fail(Errc::not_found, "attempt " + attempt.token.str() + " never began");
    if (!query.is_null(0) || query.integer(1) != 0) return false;
  }
  if (const auto done = finish_attempt(database, attempt); !done) return fail(done.error());
  return true;
}

Result<std::vector<Attempt>> attempts_of(Database& database, const RunId& run_id) {
  Query query = database.query(kSelect + "WHERE run_id = ? ORDER BY started_at, token");
  query.bind(run_id.str());
  return read_all(query, database);
}

Result<std::vector<Attempt>> attempts_open(Database& database, WallTime before, const AttemptToken& after,
                                           std::size_t limit) {
  const std::string open = "WHERE outcome IS NULL AND named = 0 AND started_at < ?";
  const std::string behind =
      after.empty() ? "" : " AND (started_at, token) > (SELECT started_at, token FROM attempts WHERE token = ?)";
  Query query = database.query(kSelect + open + behind + " ORDER BY started_at, token LIMIT ?");
  query.bind(to_column(before));
  if (!after.empty()) query.bind(after.str());
  query.bind(static_cast<std::int64_t>(limit));
  return read_all(query, database);
}

Result<std::vector<Attempt>> attempts_stale(Database& database, std::size_t limit) {
  Query query = database.query(kSelect +
                               "WHERE outcome IS NOT NULL AND directory = 1 AND (outcome <> 'succeeded' OR"
                               " EXISTS (SELECT 1 FROM runs WHERE runs.run_id = attempts.run_id))"
                               " ORDER BY started_at, token LIMIT ?");
  query.bind(static_cast<std::int64_t>(limit));
  return read_all(query, database);
}

Result<void> forget_directory(Database& database, const AttemptToken& token) {
  Query query = database.query("UPDATE attempts SET directory = 0 WHERE token = ?");
  query.bind(token.str());
  return query.run();
}

Result<std::vector<AttemptToken>> attempts_unclaimed(Database& database, const std::vector<AttemptToken>& tokens) {
  std::vector<AttemptToken> unclaimed;
  for (const AttemptToken& token : tokens) {
    Query query = database.query("SELECT 1 FROM attempts WHERE token = ? AND directory <> 0");
    query.bind(std::string_view(token.str()));
    const auto claimed = query.next();
    if (!claimed) return fail(claimed.error());
    if (!*claimed) unclaimed.push_back(token);
  }
  return unclaimed;
}

Result<bool> is_lost(Database& database, const AttemptToken& token) {
  Query query = database.query("SELECT 1 FROM attempts WHERE token = ? AND outcome = 'lost'");
  query.bind(token.str());
  return query.next();
}

Result<void> name_attempt(Database& database, const RunRecord& record) {
  const auto end = state::end_of_attempt(record);
  Query query = database.query(
      end ? "UPDATE attempts SET named = 1, outcome = COALESCE(outcome, ?),"
            " ended_at = CASE WHEN outcome IS NULL THEN ? ELSE ended_at END WHERE token = ?"
          : "UPDATE attempts SET named = 1, directory = CASE WHEN ? AND directory = 1 THEN 2 ELSE directory END"
            " WHERE token = ?");
  if (end) {
    query.bind(name_of(*end));
    query.bind(to_column(record.committed_at));
  } else {
    query.bind(static_cast<std::int64_t>(!record.outputs.empty()));
  }
  query.bind(std::string_view(record.token.str()));
  return query.run();
}

}  // namespace millrace::sqlite
