#include "state/postgres/function_store.h"

#include <utility>

#include "formats/function_json.h"
#include "state/postgres/notices.h"

namespace millrace::postgres {
namespace {

// What the table may hold for one function; the registry's own bounds are far below.
constexpr std::size_t kSpecBytesMax = 64 << 20;

// Tells every node, with the commit, if there was something to do.
const std::string kCountAndTell =
    " SELECT count(*), CASE WHEN count(*) > 0 THEN " + notify(quoted(kFunctionsNotice)) + "::text END FROM ";

const Statement kPut{"put_function",
                     "WITH put AS (INSERT INTO functions (name, spec, revision) VALUES ($1, $2, $3)"
                     " ON CONFLICT (name) DO UPDATE SET spec = EXCLUDED.spec, revision = EXCLUDED.revision"
                     " WHERE functions.revision = 0 OR functions.revision < EXCLUDED.revision RETURNING 1)" +
                         kCountAndTell + "put"};
const Statement kRemove{"remove_function",
                        "WITH gone AS (DELETE FROM functions WHERE name = $1 RETURNING 1)" + kCountAndTell + "gone"};
const Statement kAll{"all_functions", "SELECT name, spec FROM functions ORDER BY name"};

Result<FunctionSpec> decode(const std::string& name, std::string_view text) {
  const auto json = parse_json(text, kSpecBytesMax);
  auto function = json ? function_from_json(*json) : fail(json.error());
  if (function) return function;
  return fail(Errc::data_loss, "state store: function '" + name + "' cannot be read: " + function.error().message);
}

}  // namespace

Task<Result<void>> PostgresFunctionStore::put(FunctionSpec function) {
  if (function.name.empty()) co_return fail(Errc::invalid_argument, "put a function: it has no name");
  Query query(kPut);
  query.parameters.add(function.name);
  query.parameters.add(to_full_json(function).dump());
  query.parameters.add(static_cast<std::int64_t>(function.revision));
  const auto answer = co_await writer_.run(std::move(query));
  if (!answer) co_return fail(answer.error());
  if (answer->number(0, 0) == 0) {
    co_return fail(Errc::aborted, "function '" + function.name + "' was changed by another node just now");
  }
  co_return Result<void>();
}

Task<Result<void>> PostgresFunctionStore::remove(std::string name) {
  Query query(kRemove);
  query.parameters.add(name);
  const auto answer = co_await writer_.run(std::move(query));
  if (!answer) co_return fail(answer.error());
  if (answer->number(0, 0) == 0) co_return fail(Errc::not_found, "function '" + name + "' does not exist");
  co_return Result<void>();
}

Task<Result<std::vector<FunctionSpec>>> PostgresFunctionStore::all() {
  const auto answer = co_await reader_.run(Query(kAll));
  if (!answer) co_return fail(answer.error());
  std::vector<FunctionSpec> functions;
  for (int row = 0; row < answer->rows(); ++row) {
    auto function = decode(answer->text(row, 0), answer->bytes(row, 1));
    if (!function) co_return fail(function.error());
    functions.push_back(std::move(*function));
  }
  co_return functions;
}

std::vector<Statement> function_statements() {
  return {kPut, kRemove, kAll};
}

}  // namespace millrace::postgres
