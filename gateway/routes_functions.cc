#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/fdl.h"
#include "formats/record_json.h"
#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

// What one apply did, function by function; stops at the first that fails.
struct Outcome {
  std::vector<Applied> applied;
  Result<void> result;
};

// All are checked before the first is applied, so that a mistake in the last changes nothing.
Task<Outcome> apply_all(Services& services, std::vector<FunctionSpec> functions, bool only_check) {
  Outcome outcome;
  for (const auto& function : functions) {
    auto warnings = co_await services.registry.check(function);
    if (!warnings) {
      outcome.result = fail(warnings.error().with("function '" + function.name + "'"));
      co_return outcome;
    }
    if (only_check) {
      outcome.applied.push_back({.function = std::make_shared<const FunctionSpec>(function),
                                 .created = !services.registry.find(function.name),
                                 .changed = false,
                                 .warnings = std::move(*warnings)});
    }
  }
  if (only_check) co_return outcome;
  for (const auto& function : functions) {
    auto applied = co_await services.registry.apply(function);
    if (!applied) {
      outcome.result = fail(applied.error().with("function '" + function.name + "'"));
      co_return outcome;
    }
    outcome.applied.push_back(std::move(*applied));
  }
  co_return outcome;
}

// A server has no folder that a path could be relative to.
Result<std::string> no_script_files(std::string_view path) {
  return fail(Errc::invalid_argument, "script '" + std::string(path) +
                                          "' is a path; send the script's content (`millrace apply` does)");
}

}  // namespace

Task<void> list_functions(Exchange& exchange) {
  Services& services = exchange.services;
  const auto functions =
      co_await ask_domain(services, exchange.request, [&services] { return services.registry.all(); });
  Json list = Json::array();
  for (const auto& function : functions) list.append(to_json(*function));
  co_await reply_json(exchange, 200, Json::object({{"functions", std::move(list)}}));
}

Task<void> get_function(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string name = exchange.params["name"];
  const auto function =
      co_await ask_domain(services, exchange.request, [&services, name] { return services.registry.find(name); });
  if (!function) {
    co_await reply_error(exchange, {.code = Errc::not_found, .message = "function '" + name + "' does not exist"});
    co_return;
  }
  co_await reply_json(exchange, 200, to_json(*function));
}

Task<void> apply_functions(Exchange& exchange) {
  Services& services = exchange.services;
  auto body = co_await exchange.request.read_body(services.limits.request_bytes_max);
  if (!body) {
    co_await reply_error(exchange, body.error());
    co_return;
  }
  Diagnostics problems;
  auto parsed = read_fdl(*body, no_script_files, problems);
  if (!problems.empty()) {
    co_await reply_error(exchange, problems.to_error("the functions"));
    co_return;
  }
  const bool only_check = query_flag(exchange.request, "check");
  const auto outcome = co_await on_domain(services, exchange.request,
                                          [&services, functions = std::move(parsed), only_check] {
                                            return apply_all(services, functions, only_check);
                                          });
  if (!outcome.result) {
    co_await reply_error(exchange, outcome.result.error());
    co_return;
  }
  Json list = Json::array();
  for (const auto& applied : outcome.applied) {
    Json warnings = Json::array();
    for (const auto& warning : applied.warnings) warnings.append(warning);
    list.append(Json::object({{"name", applied.function->name},
                              {"revision", applied.function->revision},
                              {"created", applied.created},
                              {"changed", applied.changed},
                              {"warnings", std::move(warnings)}}));
  }
  co_await reply_json(exchange, 200, Json::object({{"functions", std::move(list)}}));
}

Task<void> remove_function(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string name = exchange.params["name"];
  const auto removed =
      co_await on_domain(services, exchange.request, [&services, name] { return services.registry.remove(name); });
  if (!removed) {
    co_await reply_error(exchange, removed.error());
    co_return;
  }
  co_await reply_empty(exchange, 204);
}

}  // namespace millrace::routes
