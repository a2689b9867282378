// What goes on right now, function by function.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/units.h"
#include "gateway/node_json.h"
#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

struct Row {
  std::string name;
  Lag lag;
  std::uint32_t running = 0;
  Activity activity;
  std::optional<Circuits::Resting> resting;
};

struct Top {
  std::vector<Row> rows;
  NodeBudget budget;
  NodeBudget free;
  std::vector<NodeRow> nodes;
};

Task<Result<Top>> look(Services& services) {
  Top top{.rows = {}, .budget = services.admission.budget(), .free = services.admission.free(), .nodes = {}};
  auto nodes = co_await services.nodes.all();
  if (!nodes) co_return fail(nodes.error());
  top.nodes = std::move(*nodes);
  for (const auto& function : services.registry.all()) {
    const auto lag = co_await lag_of(services.broker, function);
    if (!lag) co_return fail(lag.error());
    top.rows.push_back({.name = function->name,
                        .lag = *lag,
                        .running = services.admission.running(function->name),
                        .activity = services.stats.of(function->name),
                        .resting = services.circuits.resting(*function)});
  }
  co_return top;
}

Json to_json(const Row& row) {
  Json json = Json::object({{"name", row.name},
                            {"queued", row.lag.pending + row.lag.blocked},
                            {"delayed", row.lag.delayed},
                            {"running", row.running},
                            {"dead", row.lag.dead},
                            {"oldest_ms", row.lag.oldest.count()},
                            {"ended", row.activity.ended},
                            {"unsuccessful", row.activity.unsuccessful},
                            {"rate_per_s", row.activity.rate_per_s},
                            {"wall_p99_us", row.activity.wall_p99_us},
                            {"cpu_cores", row.activity.cpu_cores},
                            {"memory_peak_bytes", row.activity.memory_peak_bytes}});
  if (row.resting) {
    json.set("resting", Json::object({{"what", row.resting->what},
                                      {"reason", row.resting->reason},
                                      {"next_try_ms", row.resting->next_try.count()}}));
  }
  return json;
}

}  // namespace

Task<void> top(Exchange& exchange) {
  Services& services = exchange.services;
  const auto found = co_await on_domain(services, exchange.request, [&services] { return look(services); });
  if (!found) {
    co_await reply_error(exchange, found.error());
    co_return;
  }
  Json functions = Json::array();
  for (const auto& row : found->rows) functions.append(to_json(row));
  const NodeBudget& budget = found->budget;
  Json node = Json::object({{"name", services.node},
                            {"memory_bytes", budget.memory_bytes},
                            {"memory_reserved_bytes", budget.memory_bytes - found->free.memory_bytes},
                            {"cpu_millicores", budget.cpu_millicores},
                            {"cpu_reserved_millicores", budget.cpu_millicores - found->free.cpu_millicores}});
  co_await reply_json(exchange, 200,
                      Json::object({{"window_s", RunStats::kWindow.count()},
                                    {"node", std::move(node)},
                                    {"nodes", nodes_json(found->nodes)},
                                    {"functions", std::move(functions)}}));
}

}  // namespace millrace::routes
