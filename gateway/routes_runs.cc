#include <string>
#include <utility>
#include <vector>

#include "core/units.h"
#include "formats/record_json.h"
#include "formats/timestamp.h"
#include "gateway/reply.h"
#include "gateway/routes.h"
#include "gateway/run_json.h"

namespace millrace::routes {
namespace {

constexpr std::uint64_t kRunsMax = 1'000;
constexpr std::uint64_t kRunsDefault = 100;

struct RunList {
  std::vector<LiveRun> live;
  std::vector<RunRecord> done;
};

Task<Result<RunList>> find_runs(Services& services, RunFilter filter) {
  RunList list;
  const bool first_page = filter.before.empty() && !filter.outcome;
  if (first_page) list.live = services.runs.list(filter.function, filter.limit);
  auto done = co_await services.state.runs().list(std::move(filter));
  if (!done) co_return fail(done.error());
  list.done = std::move(*done);
  co_return list;
}

// What is known of one run, whatever its state.
struct RunDetails {
  std::optional<LiveRun> live;
  std::optional<RunRecord> record;
  std::vector<Attempt> attempts;
};

Task<Result<RunDetails>> find_run(Services& services, RunId run_id) {
  RunDetails details;
  auto record = co_await services.state.runs().get(run_id);
  if (!record) co_return fail(record.error());
  details.record = std::move(*record);
  details.live = services.runs.find(run_id);
  auto attempts = co_await services.state.runs().attempts(run_id);
  if (!attempts) co_return fail(attempts.error());
  details.attempts = std::move(*attempts);
  if (!details.record && !details.live && details.attempts.empty()) {
    co_return fail(Errc::not_found, "run '" + run_id.str() + "' is not known");
  }
  co_return details;
}

// The attempt that won is not ended by a write of its own: the committed record says how it went.
void complete_winner(RunDetails& details) {
  if (!details.record) return;
  for (auto& attempt : details.attempts) {
    if (attempt.token != details.record->token || attempt.outcome) continue;
    attempt.outcome = AttemptOutcome::succeeded;
    attempt.ended_at = details.record->committed_at;
    attempt.usage = details.record->usage;
  }
}

Json record_json(const RunRecord& record) {
  Json json = to_json(record);
  json.set("state", record.placed && record.published ? name_of(RunState::done) : name_of(RunState::placing));
  return json;
}

Result<RunFilter> filter_of(const HttpRequest& request) {
  RunFilter filter;
  filter.function = std::string(request.query("function").value_or(""));
  filter.before = RunId(std::string(request.query("before").value_or("")));
  if (const auto outcome = request.query("outcome")) {
    filter.outcome = run_outcome_from_name(*outcome);
    if (!filter.outcome) {
      return fail(Errc::invalid_argument, "outcome '" + std::string(*outcome) +
                                              "' is none of succeeded, dead_lettered, failed, cancelled, skipped");
    }
  }
  if (const auto since = request.query("since")) {
    const auto span = parse_duration(*since);
    if (!span) return fail(span.error().with("since"));
    filter.since = std::chrono::system_clock::now() - *span;
  }
  const auto limit = query_number(request, "limit", kRunsDefault, kRunsMax);
  if (!limit) return fail(limit.error());
  filter.limit = *limit;
  return filter;
}

}  // namespace

Task<void> list_runs(Exchange& exchange) {
  Services& services = exchange.services;
  const auto filter = filter_of(exchange.request);
  if (!filter) {
    co_await reply_error(exchange, filter.error());
    co_return;
  }
  const auto runs =
      co_await on_domain(services, exchange.request, [&services, filter] { return find_runs(services, *filter); });
  if (!runs) {
    co_await reply_error(exchange, runs.error());
    co_return;
  }
  Json list = Json::array();
  for (const auto& run : runs->live) list.append(live_json(run));
  for (const auto& record : runs->done) list.append(record_json(record));
  co_await reply_json(exchange, 200, Json::object({{"runs", std::move(list)}}));
}

Task<void> get_run(Exchange& exchange) {
  Services& services = exchange.services;
  const RunId run_id(exchange.params["id"]);
  auto details =
      co_await on_domain(services, exchange.request, [&services, run_id] { return find_run(services, run_id); });
  if (!details) {
    co_await reply_error(exchange, details.error());
    co_return;
  }
  complete_winner(*details);
  Json json = Json::object();
  if (details->record) {
    json = record_json(*details->record);
  } else if (details->live) {
    json = live_json(*details->live);
  } else {
    json.set("run_id", run_id.str());
    json.set("state", name_of(RunState::queued));
  }
  Json attempts = Json::array();
  for (const auto& attempt : details->attempts) attempts.append(to_json(attempt));
  json.set("attempts", std::move(attempts));
  co_await reply_json(exchange, 200, std::move(json));
}

Task<void> get_run_log(Exchange& exchange) {
  if (query_flag(exchange.request, "follow")) {
    co_await follow_run_log(exchange);
    co_return;
  }
  Services& services = exchange.services;
  const RunId run_id(exchange.params["id"]);
  auto details =
      co_await on_domain(services, exchange.request, [&services, run_id] { return find_run(services, run_id); });
  if (!details) {
    co_await reply_error(exchange, details.error());
    co_return;
  }
  HttpHeaders headers{{"Content-Type", "text/plain; charset=utf-8"}};
  std::string text = details->record ? std::move(details->record->log_tail) : std::string();
  const auto sent = co_await exchange.responder.send(200, std::move(headers), std::move(text));
  if (!sent) services.log.debug("answer not sent", {{"error", sent.error()}});
}

Task<void> cancel_run(Exchange& exchange) {
  Services& services = exchange.services;
  const RunId run_id(exchange.params["id"]);
  const bool known =
      co_await ask_domain(services, exchange.request, [&services, run_id] { return services.runs.cancel(run_id); });
  if (!known) {
    co_await reply_error(
        exchange, {.code = Errc::not_found, .message = "run '" + run_id.str() + "' is not queued or running here"});
    co_return;
  }
  co_await reply_json(exchange, 202, Json::object({{"run_id", run_id.str()}, {"cancelling", true}}));
}

}  // namespace millrace::routes
