#include "state/sqlite/function_store.h"

#include <utility>

#include "formats/function_json.h"

namespace millrace::sqlite {
namespace {

// What the file may hold for one function; the registry's own bounds are far below.
constexpr std::size_t kSpecBytesMax = 64 << 20;

Result<void> put_row(Database& database, const std::string& name, const std::string& spec) {
  Query query = database.query("INSERT OR REPLACE INTO functions (name, spec) VALUES (?, ?)");
  query.bind(std::string_view(name));
  query.bind(std::string_view(spec));
  return query.run();
}

Result<void> remove_row(Database& database, const std::string& name) {
  Query query = database.query("DELETE FROM functions WHERE name = ?");
  query.bind(std::string_view(name));
  if (auto done = query.run(); !done) return done;
  if (database.changes() == 0) return fail(Errc::not_found, "function '" + name + "' does not exist");
  return {};
}

Result<FunctionSpec> decode(const Database& database, const std::string& name, const std::string& text) {
  const auto json = parse_json(text, kSpecBytesMax);
  auto function = json ? function_from_json(*json) : fail(json.error());
  if (function) return function;
  return fail(Errc::data_loss, "state store " + database.path() + ": function '" + name +
                                   "' cannot be read: " + function.error().message);
}

Result<std::vector<FunctionSpec>> read_rows(Database& database) {
  Query query = database.query("SELECT name, spec FROM functions ORDER BY name");
  std::vector<FunctionSpec> functions;
  for (;;) {
    const auto row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return functions;
    auto function = decode(database, query.text(0), query.text(1));
    if (!function) return fail(function.error());
    functions.push_back(std::move(*function));
  }
}

}  // namespace

Task<Result<void>> SqliteFunctionStore::put(FunctionSpec function) {
  if (function.name.empty()) co_return fail(Errc::invalid_argument, "put a function: it has no name");
  std::string spec = to_full_json(function).dump();
  const std::size_t units = write_units(spec.size());
  auto done = co_await writer_.run([name = std::move(function.name), spec = std::move(spec)](
                                       Database& database) { return put_row(database, name, spec); },
                                   units);
  co_return done;
}

Task<Result<void>> SqliteFunctionStore::remove(std::string name) {
  auto done = co_await writer_.run([name = std::move(name)](Database& database) { return remove_row(database, name); },
                                   write_units(0));
  co_return done;
}

Task<Result<std::vector<FunctionSpec>>> SqliteFunctionStore::all() {
  auto found = co_await reader_.run([](Database& database) { return read_rows(database); }, 1);
  co_return found;
}

}  // namespace millrace::sqlite
