#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/units.h"
#include "formats/fdl.h"
#include "formats/record_json.h"
#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

// A server has no folder that a path could be relative to.
Result<std::string> no_script_files(std::string_view path) {
  return fail(Errc::invalid_argument,
              "script '" + std::string(path) + "' is a path; send the script's content (`millrace apply` does)");
}

Json texts_json(const std::vector<std::string>& texts) {
  return Json::Array(texts.begin(), texts.end());
}

// On the domain loop.
Task<Json> describe_all(Services& services) {
  Json list = Json::array();
  for (const auto& function : services.registry.all()) {
    auto warnings = co_await services.registry.warnings(function);
    if (const auto resting = services.circuits.resting(*function)) {
      warnings.push_back(resting->what + " rests after errors in a row, the last: " + resting->reason +
                         "; next try in " + format_duration(resting->next_try));
    }
    Json json = to_json(*function);
    json.set("warnings", texts_json(warnings));
    list.append(std::move(json));
  }
  co_return list;
}

}  // namespace

Task<Result<void>> check_function_known(Services& services, std::string name) {
  if (services.registry.find(name) || !services.runs.list(name, 1).empty()) co_return Result<void>{};
  RunFilter any;
  any.function = name;
  any.limit = 1;
  const auto records = co_await services.state.runs().list(any);
  if (!records) co_return fail(records.error());
  if (!records->empty()) co_return Result<void>{};
  co_return fail(Errc::not_found, "function '" + name + "' does not exist, and no run of it is on record");
}

Task<void> list_functions(Exchange& exchange) {
  Services& services = exchange.services;
  auto list = co_await on_domain(services, exchange.request, [&services] { return describe_all(services); });
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
  const auto done = co_await on_domain(services, exchange.request, [&services, parsed, only_check] {
    return only_check ? services.registry.check(parsed) : services.registry.apply(parsed);
  });
  if (!done) {
    co_await reply_error(exchange, done.error());
    co_return;
  }
  Json list = Json::array();
  for (const auto& applied : *done) {
    list.append(Json::object({{"name", applied.function->name},
                              {"revision", applied.function->revision},
                              {"created", applied.created},
                              {"changed", applied.changed},
                              {"warnings", texts_json(applied.warnings)}}));
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

// Runs the function on the objects of its inputs: those without a run, or with `again` all of them. Ends with the
// client, and a repetition goes on from there.
Task<void> replay_function(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string name = exchange.params["name"];
  const auto which = query_flag(exchange.request, "again") ? Replay::Which::all : Replay::Which::without_a_run;
  const auto replayed = co_await on_domain_while_wanted(
      services, exchange.request,
      [&services, name, which](std::stop_token left) { return services.replay.objects(name, which, std::move(left)); });
  if (!replayed) {
    co_await reply_error(exchange, replayed.error());
    co_return;
  }
  co_await reply_json(
      exchange, 200,
      Json::object({{"published", replayed->published}, {"known", replayed->known}, {"news", replayed->news}}));
}

}  // namespace millrace::routes
