#include "state/postgres/seen_store.h"

#include <utility>

#include "state/postgres/columns.h"

namespace millrace::postgres {

void bind_seen(Parameters& parameters, const SeenRows& seen) {
  Array triggers(Array::Of::bytes);
  Array keys(Array::Of::bytes);
  Array events(Array::Of::bytes);
  for (const auto& [trigger, rows] : seen) {
    for (const auto& [key, event_id] : rows) {
      triggers.add(trigger);
      keys.add(key);
      events.add(event_id.str());
    }
  }
  for (const Array* array : {&triggers, &keys, &events}) parameters.add(*array);
}

std::string insert_seen(int first, const std::string& condition) {
  return "INSERT INTO seen (trigger_id, key, event_id) SELECT * FROM unnest(" + placeholder(first) + "::bytea[], " +
         placeholder(first + 1) + "::bytea[], " + placeholder(first + 2) + "::bytea[]) WHERE " + condition +
         " ON CONFLICT (trigger_id, sha256(key)) DO UPDATE SET event_id = EXCLUDED.event_id";
}

namespace {

using Rows = std::map<std::string, EventId>;

// Each key is looked up by its hash, which is what is indexed.
const Statement kAll{"all_seen", "SELECT key, event_id FROM seen WHERE trigger_id = $1"};
const Statement kGet{"get_seen", "SELECT event_id FROM seen WHERE trigger_id = $1 AND sha256(key) = sha256($2::bytea)"};
const Statement kPut{"put_seen", insert_seen(1, "true")};
const Statement kRemove{"remove_seen",
                        "DELETE FROM seen USING unnest($2::bytea[]) AS gone(key)"
                        " WHERE seen.trigger_id = $1 AND sha256(seen.key) = sha256(gone.key)"};
// Of the rows that stay, none may be deleted and inserted by one statement.
const Statement kFill{"fill_seen",
                      "WITH gone AS (DELETE FROM seen WHERE trigger_id = $1 AND NOT EXISTS"
                      " (SELECT FROM unnest($3::bytea[]) AS stays(key) WHERE stays.key = seen.key)),"
                      " filled AS (INSERT INTO seen_filled (trigger_id) VALUES ($1) ON CONFLICT DO NOTHING) " +
                          insert_seen(2, "true")};
const Statement kFilled{"filled_seen", "SELECT EXISTS (SELECT FROM seen_filled WHERE trigger_id = $1)"};
const Statement kDrop{"drop_seen",
                      "WITH gone AS (DELETE FROM seen_filled WHERE trigger_id = $1)"
                      " DELETE FROM seen WHERE trigger_id = $1"};

Query with_trigger(const Statement& statement, const std::string& trigger) {
  Query query(statement);
  query.parameters.add(trigger);
  return query;
}

Task<Result<void>> write(Lane& writer, Query query) {
  const auto answer = co_await writer.run(std::move(query));
  if (!answer) co_return fail(answer.error());
  co_return Result<void>();
}

}  // namespace

Task<Result<Rows>> PostgresSeenStore::all(std::string trigger) {
  const auto answer = co_await reader_.run(with_trigger(kAll, trigger));
  if (!answer) co_return fail(answer.error());
  Rows rows;
  for (int row = 0; row < answer->rows(); ++row) rows.emplace(answer->text(row, 0), EventId(answer->text(row, 1)));
  co_return rows;
}

Task<Result<std::optional<EventId>>> PostgresSeenStore::get(std::string trigger, std::string key) {
  Query query = with_trigger(kGet, trigger);
  query.parameters.add(key);
  const auto answer = co_await reader_.run(std::move(query));
  if (!answer) co_return fail(answer.error());
  if (answer->rows() == 0) co_return std::optional<EventId>();
  co_return std::optional(EventId(answer->text(0, 0)));
}

Task<Result<void>> PostgresSeenStore::put(std::string trigger, Rows rows) {
  Query query(kPut);
  bind_seen(query.parameters, {{std::move(trigger), std::move(rows)}});
  return write(writer_, std::move(query));
}

Task<Result<void>> PostgresSeenStore::remove(std::string trigger, std::vector<std::string> keys) {
  Query query = with_trigger(kRemove, trigger);
  Array gone(Array::Of::bytes);
  for (const auto& key : keys) gone.add(key);
  query.parameters.add(gone);
  return write(writer_, std::move(query));
}

Task<Result<void>> PostgresSeenStore::fill(std::string trigger, Rows rows) {
  Query query = with_trigger(kFill, trigger);
  bind_seen(query.parameters, {{std::move(trigger), std::move(rows)}});
  return write(writer_, std::move(query));
}

Task<Result<bool>> PostgresSeenStore::filled(std::string trigger) {
  const auto answer = co_await reader_.run(with_trigger(kFilled, trigger));
  if (!answer) co_return fail(answer.error());
  co_return answer->flag(0, 0);
}

Task<Result<void>> PostgresSeenStore::drop(std::string trigger) {
  return write(writer_, with_trigger(kDrop, trigger));
}

std::vector<Statement> seen_statements() {
  return {kAll, kGet, kPut, kRemove, kFill, kFilled, kDrop};
}

}  // namespace millrace::postgres
