#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "async/task_group.h"
#include "core/units.h"
#include "engine/run_meter.h"
#include "formats/record_json.h"
#include "formats/timestamp.h"
#include "gateway/reply.h"
#include "gateway/routes.h"
#include "gateway/run_json.h"

namespace millrace::routes {
namespace {

constexpr std::uint64_t kRunsMax = 1'000;
constexpr std::uint64_t kRunsDefault = 100;
// Of those that wait, whether they still do.
constexpr std::size_t kLookedAtOnce = 100;
constexpr std::size_t kLooksMax = 100;

struct LiveRuns {
  std::vector<LiveRun> runs;
  bool more = false;  // than were asked for
};

struct RunList {
  LiveRuns live;
  std::vector<RunRecord> done;
  std::uint64_t unlisted = 0;  // events that wait, of which no run is known here
};

// Those beyond the bound of the table, and where the broker does not tell what waits also those that others published,
// or that came before this node's start.
Task<std::uint64_t> count_unlisted(Services& services, std::string function) {
  if (services.broker.capabilities().lists_waiting && !services.runs.full()) co_return 0;
  [[maybe_unused]] const auto told = co_await services.levels.refresh();  // where it fails, what is known counts
  const std::uint64_t waiting = services.levels.waiting_for(function).value_or(0);
  const std::uint64_t known = services.runs.waiting_count(function);
  co_return waiting > known ? waiting - known : 0;
}

Task<void> forget_if_over(Services& services, RunId run_id, Result<bool>& forgotten) {
  const auto record = co_await services.state.runs().get(run_id);
  if (!record) {
    forgotten = fail(record.error());
  } else if (*record && !services.runs.active(run_id)) {
    services.runs.forget(run_id);
    if (forgotten) forgotten = true;
  }
}

// What waited here other nodes may have run since: of a backlog that they have worked off, all of it.
Task<Result<LiveRuns>> find_live(Services& services, std::string function, std::size_t limit) {
  for (std::size_t looks = 0;; ++looks) {
    auto live = services.runs.list(function, looks == 0 ? limit + 1 : kRunsMax + 1);
    Result<bool> forgotten = false;
    for (std::size_t first = 0; services.nodes.shared() && forgotten && first < live.size(); first += kLookedAtOnce) {
      TaskGroup looking(services.domain);
      for (std::size_t next = first; next < std::min(first + kLookedAtOnce, live.size()); ++next) {
        const RunId& run_id = live[next].run_id;
        if (!services.runs.active(run_id)) looking.spawn(forget_if_over(services, run_id, forgotten));
      }
      co_await looking.join();
    }
    if (!forgotten) co_return fail(forgotten.error());
    if (*forgotten && looks < kLooksMax) continue;
    const bool more = live.size() > limit;
    if (more) live.resize(limit);
    co_return LiveRuns{.runs = std::move(live), .more = more};
  }
}

Task<Result<RunList>> find_runs(Services& services, RunFilter filter) {
  RunList list;
  if (!filter.function.empty()) {
    const auto known = co_await check_function_known(services, filter.function);
    if (!known) co_return fail(known.error());
  }
  if (filter.before.empty() && !filter.outcome) {
    auto live = co_await find_live(services, filter.function, filter.limit);
    if (!live) co_return fail(live.error());
    list.live = std::move(*live);
    list.unlisted = co_await count_unlisted(services, filter.function);
  }
  auto done = co_await services.state.runs().list(std::move(filter));
  if (!done) co_return fail(done.error());
  list.done = std::move(*done);
  // Some have ended since they were looked at.
  std::unordered_set<std::string_view> over;
  for (const auto& record : list.done) over.insert(record.run_id.str());
  std::erase_if(list.live.runs, [&](const LiveRun& run) { return over.contains(run.run_id.str()); });
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

// Whichever node meets the event finds that its run is over. False: it was over already, in some other way.
Task<Result<bool>> commit_cancelled(Services& services, LiveRun run) {
  RunRecord record;
  record.run_id = run.run_id;
  record.event_id = run.event_id;
  record.function = run.function;
  if (const auto function = services.registry.find(run.function)) {
    record.function_uid = function->uid;
    record.revision = function->revision;
  }
  record.outcome = RunOutcome::cancelled;
  record.reason = "cancelled while queued";
  record.node = services.node;
  record.queued_at = run.queued_at;
  record.started_at = record.committed_at = services.domain.wall_now();
  record.placed = record.published = true;
  const auto committed = co_await services.state.runs().commit(std::move(record));
  if (!committed) co_return fail(committed.error());
  if (committed->won) count_run(services.metrics, committed->standing);
  services.runs.forget(run.run_id);
  co_return committed->standing.outcome == RunOutcome::cancelled;
}

// Whoever has the run in hand stops it: this node, or one that hears of it. One that is queued ends on record, at once:
// what was answered survives a restart. False: nothing is known of it.
Task<Result<bool>> cancel_somewhere(Services& services, RunId run_id) {
  if (services.runs.active(run_id)) co_return services.runs.cancel(run_id);
  const auto attempts = co_await services.state.runs().attempts(run_id);
  if (!attempts) co_return fail(attempts.error());
  const bool elsewhere = services.nodes.shared() &&
                         std::ranges::any_of(*attempts, [](const Attempt& attempt) { return !attempt.outcome; });
  if (elsewhere) {
    const auto told = co_await services.nodes.announce({.kind = Notice::Kind::cancel, .run_id = run_id});
    if (!told) co_return fail(told.error());
    co_return true;
  }
  const auto queued = services.runs.find(run_id);
  if (!queued) co_return false;
  const auto cancelled = co_await commit_cancelled(services, *queued);
  if (!cancelled) co_return fail(cancelled.error());
  if (*cancelled && services.runs.active(run_id)) co_return services.runs.cancel(run_id);  // its turn came meanwhile
  co_return *cancelled;
}

Json with_state(Json json, const RunRecord& record) {
  json.set("state", record.placed && record.published ? name_of(RunState::done) : name_of(RunState::placing));
  return json;
}

// Of a run that goes on: what it has written so far.
Task<Result<std::string>> log_of(Services& services, RunId run_id) {
  auto details = co_await find_run(services, run_id);
  if (!details) co_return fail(details.error());
  if (details->record) co_return std::move(details->record->log_tail);
  const auto log = services.logs.find(run_id);
  if (!log) {
    co_return fail(Errc::failed_precondition, "run '" + run_id.str() +
                                                  "' has not ended and does not run on this node: it has no log here "
                                                  "yet; `millrace logs -f` waits for it");
  }
  auto piece = co_await services.logs.next(log, 0, EventLoop::Duration(0), {});
  if (!piece) co_return fail(piece.error());
  co_return std::move(piece->bytes);
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
  for (const auto& run : runs->live.runs) list.append(live_json(run));
  for (const auto& record : runs->done) list.append(with_state(summary_json(record), record));
  const bool more = runs->live.more || runs->unlisted > 0;
  Json answer = Json::object({{"runs", std::move(list)}, {"more_live", more}});
  if (runs->unlisted > 0) answer.set("queued_unlisted", runs->unlisted);
  co_await reply_json(exchange, 200, std::move(answer));
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
  // Of a run that another node has in hand it is the attempt that tells.
  const bool runs = std::ranges::any_of(details->attempts, [](const Attempt& attempt) { return !attempt.outcome; });
  Json json = Json::object();
  if (details->record) {
    json = with_state(to_json(*details->record), *details->record);
  } else if (details->live) {
    json = live_json(*details->live);
    if (runs && details->live->state == RunState::queued) json.set("state", name_of(RunState::running));
  } else {
    json.set("run_id", run_id.str());
    json.set("state", name_of(runs ? RunState::running : RunState::queued));
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
  auto text = co_await on_domain(services, exchange.request, [&services, run_id] { return log_of(services, run_id); });
  if (!text) {
    co_await reply_error(exchange, text.error());
    co_return;
  }
  HttpHeaders headers{{"Content-Type", "text/plain; charset=utf-8"}};
  const auto sent = co_await exchange.responder.send(200, std::move(headers), std::move(*text));
  if (!sent) services.log.debug("answer not sent", {{"error", sent.error()}});
}

Task<void> cancel_run(Exchange& exchange) {
  Services& services = exchange.services;
  const RunId run_id(exchange.params["id"]);
  const auto known = co_await on_domain(services, exchange.request,
                                        [&services, run_id] { return cancel_somewhere(services, run_id); });
  if (!known) {
    co_await reply_error(exchange, known.error());
    co_return;
  }
  if (!*known) {
    co_await reply_error(
        exchange, {.code = Errc::not_found, .message = "run '" + run_id.str() + "' is not queued or running here"});
    co_return;
  }
  co_await reply_json(exchange, 202, Json::object({{"run_id", run_id.str()}, {"cancelling", true}}));
}

}  // namespace millrace::routes
