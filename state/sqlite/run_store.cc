#include "state/sqlite/run_store.h"

#include <utility>

#include "state/checks.h"
#include "state/sqlite/attempt_rows.h"
#include "state/sqlite/old_rows.h"
#include "state/sqlite/run_rows.h"
#include "state/sqlite/seen_store.h"

namespace millrace::sqlite {
namespace {

std::size_t bytes_of(const RunRecord& record) {
  std::size_t bytes = record.log_tail.size() + record.result.size() + record.reason.size();
  for (const OutputFile& output : record.outputs) {
    bytes += sizeof(output) + output.name.size() + output.key.size() + output.source_path.size() +
             output.private_path.size();
  }
  return bytes;
}

Result<CommitResult> commit_run(Database& database, RunRecord record) {
  const auto lost = record.outputs.empty() ? Result<bool>(false) : is_lost(database, record.token);
  if (!lost) return fail(lost.error());
  const auto won = *lost ? Result<bool>(false) : insert_run(database, record);
  if (!won) return fail(won.error());
  if (*won) return CommitResult{.won = true, .standing = std::move(record)};
  auto standing = find_run(database, record.run_id);
  if (!standing) return fail(standing.error());
  if (!*standing && *lost) return fail(state::given_up(record));
  if (!*standing)
    return fail(Errc::internal, "run " + record.run_id.str() + " lost against a record that is not there");
  return CommitResult{.won = false, .standing = std::move(**standing)};
}

Result<std::optional<RunRecord>> begin(Database& database, const Attempt& attempt) {
  auto standing = find_run(database, attempt.run_id);
  if (!standing || *standing) return standing;
  if (const auto begun = insert_attempt(database, attempt); !begun) return fail(begun.error());
  return std::nullopt;
}

}  // namespace

Task<Result<std::optional<RunRecord>>> SqliteRunStore::begin_attempt(Attempt attempt) {
  if (auto checked = state::check_new(attempt); !checked) co_return fail(checked.error());
  const std::size_t units = write_units(attempt.message.size());
  auto standing =
      co_await writer_.run([attempt = std::move(attempt)](Database& database) { return begin(database, attempt); },
                           units, Urgency::prompt, Durability::written);
  co_return standing;
}

Task<Result<void>> SqliteRunStore::end_attempt(Attempt attempt) {
  if (auto checked = state::check_ended(attempt); !checked) co_return checked;
  const std::size_t units = write_units(attempt.message.size());
  auto done = co_await writer_.run(
      [attempt = std::move(attempt)](Database& database) { return finish_attempt(database, attempt); }, units);
  co_return done;
}

Task<Result<bool>> SqliteRunStore::abandon_attempt(Attempt attempt) {
  if (auto checked = state::check_ended(attempt); !checked) co_return fail(checked.error());
  const std::size_t units = write_units(attempt.message.size());
  auto done = co_await writer_.run(
      [attempt = std::move(attempt)](Database& database) { return sqlite::abandon_attempt(database, attempt); }, units);
  co_return done;
}

Task<Result<std::vector<Attempt>>> SqliteRunStore::attempts(RunId run_id) {
  auto found = co_await reader_.run(
      [run_id = std::move(run_id)](Database& database) { return attempts_of(database, run_id); }, 1);
  co_return found;
}

Task<Result<std::vector<Attempt>>> SqliteRunStore::open_attempts(WallTime before, AttemptToken after,
                                                                 std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  auto found = co_await reader_.run([before, after = std::move(after), limit](
                                        Database& database) { return attempts_open(database, before, after, limit); },
                                    1);
  co_return found;
}

Task<Result<std::vector<Attempt>>> SqliteRunStore::stale_directories(std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  auto found = co_await reader_.run([limit](Database& database) { return attempts_stale(database, limit); }, 1);
  co_return found;
}

Task<Result<void>> SqliteRunStore::forget_directory(AttemptToken token) {
  auto done = co_await writer_.run(
      [token = std::move(token)](Database& database) { return sqlite::forget_directory(database, token); },
      write_units(0), Urgency::patient, Durability::written);
  co_return done;
}

Task<Result<std::vector<AttemptToken>>> SqliteRunStore::unclaimed_directories(std::vector<AttemptToken> tokens) {
  if (auto checked = state::check(tokens); !checked) co_return fail(checked.error());
  auto found = co_await reader_.run(
      [tokens = std::move(tokens)](Database& database) { return attempts_unclaimed(database, tokens); }, 1);
  co_return found;
}

Task<Result<CommitResult>> SqliteRunStore::commit(RunRecord record) {
  if (auto checked = state::check(record); !checked) co_return fail(checked.error());
  const std::size_t units = write_units(bytes_of(record));
  // The run has given its slot back: among many, it may wait for others.
  auto done = co_await writer_.run(
      [record = std::move(record)](Database& database) mutable { return commit_run(database, std::move(record)); },
      units, Urgency::patient);
  co_return done;
}

Task<Result<void>> SqliteRunStore::mark(RunId run_id, RunMarks marks) {
  std::size_t bytes = 0;
  for (const auto& [trigger, rows] : marks.seen) bytes += seen_bytes(rows);
  // Without the mark a crash repeats what placing and publishing take for done.
  auto done = co_await writer_.run([run_id = std::move(run_id), marks = std::move(marks), now = loop_.wall_now()](
                                       Database& database) { return mark_run(database, run_id, marks, now); },
                                   write_units(bytes), Urgency::patient);
  co_return done;
}

Task<Result<std::optional<RunRecord>>> SqliteRunStore::get(RunId run_id) {
  auto found =
      co_await reader_.run([run_id = std::move(run_id)](Database& database) { return find_run(database, run_id); }, 1);
  co_return found;
}

Task<Result<std::vector<RunRecord>>> SqliteRunStore::list(RunFilter filter) {
  if (auto checked = state::check(filter); !checked) co_return fail(checked.error());
  auto found =
      co_await reader_.run([filter = std::move(filter)](Database& database) { return list_runs(database, filter); }, 1);
  co_return found;
}

Task<Result<std::vector<RunRecord>>> SqliteRunStore::unfinished(WallTime before, RunId after, std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  auto found = co_await reader_.run([before, after = std::move(after), limit](
                                        Database& database) { return runs_unfinished(database, before, after, limit); },
                                    1);
  co_return found;
}

Task<Result<Order>> SqliteRunStore::newest_order() {
  auto found = co_await reader_.run([](Database& database) { return sqlite::newest_order(database); }, 1);
  co_return found;
}

Task<Result<std::vector<RunRecord>>> SqliteRunStore::of_event(EventId event_id) {
  auto found = co_await reader_.run(
      [event_id = std::move(event_id)](Database& database) { return runs_of_event(database, event_id); }, 1);
  co_return found;
}

Task<Result<std::vector<RunRecord>>> SqliteRunStore::caused_by(RunId run_id) {
  auto found = co_await reader_.run(
      [run_id = std::move(run_id)](Database& database) { return runs_caused_by(database, run_id); }, 1);
  co_return found;
}

Task<Result<std::optional<WallTime>>> SqliteRunStore::committed_before_last(std::size_t count) {
  auto found =
      co_await reader_.run([count](Database& database) { return sqlite::committed_before_last(database, count); }, 1);
  co_return found;
}

Task<Result<std::vector<OldRun>>> SqliteRunStore::removable(WallTime before, RunId after, std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  auto found = co_await reader_.run([before, after = std::move(after), limit](
                                        Database& database) { return removable_runs(database, before, after, limit); },
                                    1);
  co_return found;
}

Task<Result<std::size_t>> SqliteRunStore::remove(std::vector<RunId> run_ids) {
  if (run_ids.empty()) co_return std::size_t{0};
  if (auto checked = state::check_limit(run_ids.size()); !checked) co_return fail(checked.error());
  const std::size_t units = write_units(run_ids.size() * kWriteUnitBytes);
  auto done = co_await writer_.run(
      [run_ids = std::move(run_ids)](Database& database) { return remove_runs(database, run_ids); }, units);
  co_return done;
}

Task<Result<std::size_t>> SqliteRunStore::remove_lone_attempts(WallTime before, std::size_t limit) {
  if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
  auto done = co_await writer_.run(
      [before, limit](Database& database) { return sqlite::remove_lone_attempts(database, before, limit); },
      write_units(limit * kWriteUnitBytes));
  co_return done;
}

}  // namespace millrace::sqlite
