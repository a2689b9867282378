#include "state/postgres/run_store.h"

#include <utility>

#include "state/checks.h"
#include "state/postgres/attempt_rows.h"
#include "state/postgres/columns.h"
#include "state/postgres/old_rows.h"
#include "state/postgres/run_rows.h"

namespace millrace::postgres {

Task<Result<std::optional<RunRecord>>> PostgresRunStore::begin_attempt(Attempt attempt) {
  if (auto checked = state::check_new(attempt); !checked) co_return fail(checked.error());
  const auto answer = co_await writer_.run(postgres::begin_attempt(attempt));
  if (!answer) co_return fail(answer.error());
  const bool stands = answer->flag(0, 0);
  const bool begun = answer->flag(0, 1);
  if (begun) co_return std::optional<RunRecord>();
  if (!stands) co_return fail(Errc::already_exists, "attempt " + attempt.token.str() + " has begun already");
  auto standing = co_await get(attempt.run_id);
  if (!standing) co_return fail(standing.error());
  if (!*standing) {
    co_return fail(Errc::unavailable, "run " + attempt.run_id.str() + ": its record was removed just now; begin again");
  }
  co_return std::move(*standing);
}

Task<Result<void>> PostgresRunStore::end_attempt(Attempt attempt) {
  const auto done = co_await end(std::move(attempt), false);
  if (!done) co_return fail(done.error());
  co_return Result<void>();
}

Task<Result<bool>> PostgresRunStore::abandon_attempt(Attempt attempt) {
  return end(std::move(attempt), true);
}

Task<Result<bool>> PostgresRunStore::end(Attempt attempt, bool unless_named) {
  if (auto checked = state::check_ended(attempt); !checked) co_return fail(checked.error());
  const auto answer = co_await writer_.run(postgres::end_attempt(attempt, unless_named));
  if (!answer) co_return fail(answer.error());
  if (!answer->flag(0, 0)) co_return fail(Errc::not_found, "attempt " + attempt.token.str() + " never began");
  co_return answer->flag(0, 1);
}

Task<Result<std::vector<Attempt>>> PostgresRunStore::attempts(RunId run_id) {
  return read_attempts(attempts_of(run_id));
}

Task<Result<std::vector<Attempt>>> PostgresRunStore::open_attempts(WallTime before, AttemptToken after,
                                                                   std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  auto found = co_await read_attempts(attempts_open(before, after, limit));
  co_return found;
}

Task<Result<std::vector<Attempt>>> PostgresRunStore::stale_directories(std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  auto found = co_await read_attempts(attempts_stale(limit));
  co_return found;
}

Task<Result<void>> PostgresRunStore::forget_directory(AttemptToken token) {
  const auto answer = co_await writer_.run(postgres::forget_directory(token), Urgency::patient);
  if (!answer) co_return fail(answer.error());
  co_return Result<void>();
}

Task<Result<std::vector<AttemptToken>>> PostgresRunStore::unclaimed_directories(std::vector<AttemptToken> tokens) {
  if (auto checked = state::check(tokens); !checked) co_return fail(checked.error());
  const auto answer = co_await reader_.run(attempts_unclaimed(tokens));
  if (!answer) co_return fail(answer.error());
  std::vector<AttemptToken> unclaimed;
  for (int row = 0; row < answer->rows(); ++row) unclaimed.emplace_back(answer->text(row, 0));
  co_return unclaimed;
}

Task<Result<CommitResult>> PostgresRunStore::commit(RunRecord record) {
  if (auto checked = state::check(record); !checked) co_return fail(checked.error());
  // The run has given its slot back: among many, it may wait for others.
  const auto answer = co_await writer_.run(insert_run(record), Urgency::patient);
  if (!answer) co_return fail(answer.error());
  if (answer->flag(0, 0)) co_return CommitResult{.won = true, .standing = std::move(record)};
  const bool lost = answer->flag(0, 1);
  // In a statement of its own, which sees what others have committed meanwhile.
  auto standing = co_await get(record.run_id);
  if (!standing) co_return fail(standing.error());
  if (!*standing && lost) co_return fail(state::given_up(record));
  if (!*standing) {
    co_return fail(Errc::unavailable,
                   "run " + record.run_id.str() + " lost against a record that was removed just now; commit again");
  }
  // Of a commit whose answer was lost with its connection, the row may be our own.
  const bool is_own = !record.token.empty() && (*standing)->token == record.token;
  co_return CommitResult{.won = is_own, .standing = std::move(**standing)};
}

Task<Result<void>> PostgresRunStore::mark(RunId run_id, RunMarks marks) {
  // Without the mark a crash repeats what placing and publishing take for done.
  const auto answer = co_await writer_.run(mark_run(run_id, marks, loop_.wall_now()), Urgency::patient);
  if (!answer) co_return fail(answer.error());
  if (!answer->flag(0, 0)) co_return fail(Errc::not_found, "run " + run_id.str() + " has no record");
  co_return Result<void>();
}

Task<Result<std::optional<RunRecord>>> PostgresRunStore::get(RunId run_id) {
  const auto answer = co_await reader_.run(find_run(run_id));
  if (!answer) co_return fail(answer.error());
  co_return read_found(*answer);
}

Task<Result<std::vector<RunRecord>>> PostgresRunStore::list(RunFilter filter) {
  if (auto checked = state::check(filter); !checked) co_return fail(checked.error());
  WallTime before{};
  if (!filter.before.empty()) {
    const auto answer = co_await reader_.run(commit_time_of(filter.before));
    if (!answer) co_return fail(answer.error());
    if (answer->rows() == 0) {
      co_return fail(Errc::not_found, "list runs: the run to go on from, " + filter.before.str() + ", is not there");
    }
    before = time_from_column(answer->number(0, 0));
  }
  auto found = co_await read_runs(list_runs(filter, before));
  co_return found;
}

Task<Result<std::vector<RunRecord>>> PostgresRunStore::unfinished(WallTime before, RunId after, std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  auto found = co_await read_runs(runs_unfinished(before, after, limit));
  co_return found;
}

Task<Result<Order>> PostgresRunStore::newest_order() {
  const auto answer = co_await reader_.run(postgres::newest_order());
  if (!answer) co_return fail(answer.error());
  co_return answer->rows() == 0 ? Order() : Order(answer->text(0, 0));
}

Task<Result<std::vector<RunRecord>>> PostgresRunStore::of_event(EventId event_id) {
  return read_runs(runs_of_event(event_id));
}

Task<Result<std::vector<RunRecord>>> PostgresRunStore::caused_by(RunId run_id) {
  return read_runs(runs_caused_by(run_id));
}

Task<Result<std::optional<WallTime>>> PostgresRunStore::committed_before_last(std::size_t count) {
  const auto answer = co_await reader_.run(postgres::committed_before_last(count));
  if (!answer) co_return fail(answer.error());
  if (answer->rows() == 0) co_return std::optional<WallTime>();
  co_return std::optional(time_from_column(answer->number(0, 0)));
}

Task<Result<std::vector<OldRun>>> PostgresRunStore::removable(WallTime before, RunId after, std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  const auto answer = co_await reader_.run(removable_runs(before, after, limit));
  if (!answer) co_return fail(answer.error());
  co_return read_removable(*answer);
}

Task<Result<std::size_t>> PostgresRunStore::remove(std::vector<RunId> run_ids) {
  if (run_ids.empty()) co_return std::size_t{0};
  if (auto checked = state::check_limit(run_ids.size()); !checked) co_return fail(checked.error());
  auto removed = co_await write_counted(remove_runs(run_ids));
  co_return removed;
}

Task<Result<std::size_t>> PostgresRunStore::remove_lone_attempts(WallTime before, std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  auto removed = co_await write_counted(postgres::remove_lone_attempts(before, limit));
  co_return removed;
}

Task<Result<std::vector<Attempt>>> PostgresRunStore::read_attempts(Query query) {
  const auto answer = co_await reader_.run(std::move(query));
  if (!answer) co_return fail(answer.error());
  co_return postgres::read_attempts(*answer);
}

Task<Result<std::vector<RunRecord>>> PostgresRunStore::read_runs(Query query) {
  const auto answer = co_await reader_.run(std::move(query));
  if (!answer) co_return fail(answer.error());
  co_return read_listed(*answer);
}

Task<Result<std::size_t>> PostgresRunStore::write_counted(Query query) {
  const auto answer = co_await writer_.run(std::move(query));
  if (!answer) co_return fail(answer.error());
  co_return static_cast<std::size_t>(answer->number(0, 0));
}

std::vector<Statement> run_store_statements() {
  std::vector<Statement> all = attempt_statements();
  for (auto statements : {run_statements(), old_row_statements()}) {
    for (auto& statement : statements) all.push_back(std::move(statement));
  }
  return all;
}

}  // namespace millrace::postgres
