#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "async/sleep.h"
#include "core/units.h"
#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

// Between two looks: a sixteenth of the time waited so far, within these. Each look asks the broker for every function.
constexpr EventLoop::Duration kIdlePollMin = std::chrono::milliseconds(20);
constexpr EventLoop::Duration kIdlePollMax = std::chrono::seconds(1);

struct Busy {
  std::uint64_t queued = 0;
  std::uint64_t delayed = 0;
  std::uint64_t running = 0;
  bool inputs_known = true;  // what lay in the inputs is in the counts

  [[nodiscard]] bool idle() const { return inputs_known && queued == 0 && delayed == 0 && running == 0; }
};

Task<Result<Busy>> how_busy(Services& services) {
  Busy busy;
  busy.running = services.runs.active_count();
  for (const auto& function : services.registry.all()) {
    const auto lag = co_await lag_of(services.broker, function);
    if (!lag) co_return fail(lag.error());
    busy.queued += lag->pending + lag->in_flight + lag->blocked;
    busy.delayed += lag->delayed;
  }
  co_return busy;
}

// What happened outside before the call is in the queues after the drain; from then on, only looking helps.
Task<Result<Busy>> until_idle(Services& services, std::chrono::milliseconds timeout, std::stop_token left) {
  const auto begun = services.domain.now();
  Deadline deadline(services.domain, timeout, left);
  const auto drained = co_await services.registry.drain(deadline.token());
  if (!drained && !deadline.expired()) co_return fail(drained.error());
  for (;;) {
    auto busy = co_await how_busy(services);
    if (busy && !drained) busy->inputs_known = false;
    if (!busy || busy->idle()) co_return busy;
    const auto pause = std::clamp((services.domain.now() - begun) / 16, kIdlePollMin, kIdlePollMax);
    const auto slept = co_await sleep_for(services.domain, pause, deadline.token());
    if (!slept) co_return busy;
  }
}

}  // namespace

// 503 while this node cannot take work: a load balancer then sends it elsewhere.
Task<void> health(Exchange& exchange) {
  Services& services = exchange.services;
  const auto troubles =
      co_await ask_domain(services, exchange.request, [&services] { return services.health.troubles(); });
  if (troubles.empty()) {
    co_await reply_json(exchange, 200, Json::object({{"status", "ok"}}));
    co_return;
  }
  Json reasons = Json::array();
  for (const auto& trouble : troubles) {
    reasons.append(Json::object({{"what", trouble.what}, {"reason", trouble.reason}}));
  }
  co_await reply_json(exchange, 503, Json::object({{"status", "degraded"}, {"reasons", std::move(reasons)}}));
}

// For whoever ends a process that hangs: neither a full disk nor a broker that is away is mended by that.
Task<void> health_live(Exchange& exchange) {
  const bool alive = co_await ask_domain(exchange.services, exchange.request, [] { return true; });
  co_await reply_json(exchange, alive ? 200 : 503, Json::object({{"status", "alive"}}));
}

// The queues are the same ones for all nodes: gateways tell of them.
Task<void> metrics(Exchange& exchange) {
  Services& services = exchange.services;
  if (services.has_api) {
    const auto told = co_await on_domain(services, exchange.request, [&services] { return services.levels.refresh(); });
    if (!told) services.log.debug("the levels of the queues are not known", {{"error", told.error()}});
  }
  HttpHeaders headers{{"Content-Type", "text/plain; version=0.0.4"}};
  const auto sent = co_await exchange.responder.send(200, std::move(headers), services.metrics.render());
  if (!sent) services.log.debug("answer not sent", {{"error", sent.error()}});
}

Task<void> node(Exchange& exchange) {
  Services& services = exchange.services;
  struct Facts {
    std::vector<Control> controls;
    NodeBudget budget;
    NodeBudget free;
    std::size_t running = 0;
  };
  const auto facts = co_await ask_domain(services, exchange.request, [&services] {
    return Facts{.controls = services.controls(),
                 .budget = services.admission.budget(),
                 .free = services.admission.free(),
                 .running = services.runs.active_count()};
  });
  Json controls = Json::array();
  for (const auto& control : facts.controls) {
    controls.append(
        Json::object({{"name", control.name}, {"state", name_of(control.state)}, {"detail", control.detail}}));
  }
  co_await reply_json(exchange, 200,
                      Json::object({{"node", services.node},
                                    {"running", facts.running},
                                    {"memory", format_bytes(facts.budget.memory_bytes)},
                                    {"memory_free", format_bytes(facts.free.memory_bytes)},
                                    {"cpu", format_millicores(facts.budget.cpu_millicores)},
                                    {"cpu_free", format_millicores(facts.free.cpu_millicores)},
                                    {"controls", std::move(controls)}}));
}

// 200 when nothing is queued, delayed or running; 504 with the counts when the time is over first.
Task<void> wait_idle(Exchange& exchange) {
  Services& services = exchange.services;
  const auto timeout = parse_duration(std::string(exchange.request.query("timeout").value_or("60s")));
  if (!timeout || *timeout > services.limits.wait_max) {
    co_await reply_error(exchange, timeout ? Error{.code = Errc::invalid_argument, .message = "timeout is at most 24h"}
                                           : timeout.error());
    co_return;
  }
  const auto busy = co_await on_domain_while_wanted(
      services, exchange.request,
      [&services, timeout](std::stop_token left) { return until_idle(services, *timeout, std::move(left)); });
  if (!busy) {
    co_await reply_error(exchange, busy.error());
    co_return;
  }
  co_await reply_json(exchange, busy->idle() ? 200 : 504,
                      Json::object({{"idle", busy->idle()},
                                    {"queued", busy->queued},
                                    {"delayed", busy->delayed},
                                    {"running", busy->running},
                                    {"inputs_known", busy->inputs_known}}));
}

}  // namespace millrace::routes
