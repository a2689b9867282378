#include "state/sqlite/seen_store.h"

#include <utility>

namespace millrace::sqlite {

Result<void> write_seen(Database& database, const std::string& trigger, const std::map<std::string, EventId>& rows) {
  for (const auto& [key, event_id] : rows) {
    Query query = database.query("INSERT OR REPLACE INTO seen (trigger_id, key, event_id) VALUES (?, ?, ?)");
    query.bind(std::string_view(trigger));
    query.bind(std::string_view(key));
    query.bind(std::string_view(event_id.str()));
    if (auto done = query.run(); !done) return done;
  }
  return {};
}

std::size_t seen_bytes(const std::map<std::string, EventId>& rows) {
  constexpr std::size_t kRowBytes = 100;  // an event id, the map's node, and what is around a key in the file
  std::size_t bytes = 0;
  for (const auto& [key, event_id] : rows) bytes += kRowBytes + key.size();
  return bytes;
}

namespace {

using Rows = std::map<std::string, EventId>;

Result<Rows> read_rows(Database& database, const std::string& trigger) {
  Query query = database.query("SELECT key, event_id FROM seen WHERE trigger_id = ?");
  query.bind(std::string_view(trigger));
  Rows rows;
  for (;;) {
    const auto row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return rows;
    rows.emplace_hint(rows.end(), query.text(0), EventId(query.text(1)));
  }
}

Result<std::optional<EventId>> read_row(Database& database, const std::string& trigger, const std::string& key) {
  Query query = database.query("SELECT event_id FROM seen WHERE trigger_id = ? AND key = ?");
  query.bind(std::string_view(trigger));
  query.bind(std::string_view(key));
  const auto row = query.next();
  if (!row) return fail(row.error());
  if (!*row) return std::nullopt;
  return EventId(query.text(0));
}

Result<void> run_with_trigger(Database& database, const char* sql, const std::string& trigger) {
  Query query = database.query(sql);
  query.bind(std::string_view(trigger));
  return query.run();
}

Result<void> fill_rows(Database& database, const std::string& trigger, const Rows& rows) {
  if (auto done = run_with_trigger(database, "DELETE FROM seen WHERE trigger_id = ?", trigger); !done) return done;
  if (auto done = write_seen(database, trigger, rows); !done) return done;
  return run_with_trigger(database, "INSERT OR IGNORE INTO seen_filled (trigger_id) VALUES (?)", trigger);
}

Result<void> remove_keys(Database& database, const std::string& trigger, const std::vector<std::string>& keys) {
  for (const auto& key : keys) {
    Query query = database.query("DELETE FROM seen WHERE trigger_id = ? AND key = ?");
    query.bind(std::string_view(trigger));
    query.bind(std::string_view(key));
    if (auto done = query.run(); !done) return done;
  }
  return {};
}

Result<bool> read_filled(Database& database, const std::string& trigger) {
  Query query = database.query("SELECT 1 FROM seen_filled WHERE trigger_id = ?");
  query.bind(std::string_view(trigger));
  return query.next();
}

Result<void> drop_trigger(Database& database, const std::string& trigger) {
  if (auto done = run_with_trigger(database, "DELETE FROM seen WHERE trigger_id = ?", trigger); !done) return done;
  return run_with_trigger(database, "DELETE FROM seen_filled WHERE trigger_id = ?", trigger);
}

}  // namespace

Task<Result<Rows>> SqliteSeenStore::all(std::string trigger) {
  auto found = co_await reader_.run(
      [trigger = std::move(trigger)](Database& database) { return read_rows(database, trigger); }, 1);
  co_return found;
}

Task<Result<std::optional<EventId>>> SqliteSeenStore::get(std::string trigger, std::string key) {
  auto found = co_await reader_.run([trigger = std::move(trigger), key = std::move(key)](
                                        Database& database) { return read_row(database, trigger, key); },
                                    1);
  co_return found;
}

Task<Result<void>> SqliteSeenStore::put(std::string trigger, Rows rows) {
  const std::size_t units = write_units(seen_bytes(rows));
  auto done = co_await writer_.run([trigger = std::move(trigger), rows = std::move(rows)](
                                       Database& database) { return write_seen(database, trigger, rows); },
                                   units);
  co_return done;
}

Task<Result<void>> SqliteSeenStore::remove(std::string trigger, std::vector<std::string> keys) {
  auto done = co_await writer_.run([trigger = std::move(trigger), keys = std::move(keys)](
                                       Database& database) { return remove_keys(database, trigger, keys); },
                                   write_units(0));
  co_return done;
}

Task<Result<void>> SqliteSeenStore::fill(std::string trigger, Rows rows) {
  const std::size_t units = write_units(seen_bytes(rows));
  auto done = co_await writer_.run([trigger = std::move(trigger), rows = std::move(rows)](
                                       Database& database) { return fill_rows(database, trigger, rows); },
                                   units);
  co_return done;
}

Task<Result<bool>> SqliteSeenStore::filled(std::string trigger) {
  auto found = co_await reader_.run(
      [trigger = std::move(trigger)](Database& database) { return read_filled(database, trigger); }, 1);
  co_return found;
}

Task<Result<void>> SqliteSeenStore::drop(std::string trigger) {
  auto done = co_await writer_.run(
      [trigger = std::move(trigger)](Database& database) { return drop_trigger(database, trigger); }, write_units(0));
  co_return done;
}

}  // namespace millrace::sqlite
