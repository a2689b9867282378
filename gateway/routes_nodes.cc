// The daemons that share this one's state store.
#include "formats/timestamp.h"
#include "gateway/node_json.h"
#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace {
namespace {

Json node_json(const NodeRow& node) {
  return Json::object({{"name", node.name},
                       {"state", node.alive ? "live" : "gone"},
                       {"roles", node.roles},
                       {"version", node.version},
                       {"address", node.address},
                       {"started_at", format_timestamp(node.started_at)},
                       {"heartbeat_ago_ms", node.heartbeat_age.count()},
                       {"running", node.running},
                       {"memory_bytes", node.memory_bytes},
                       {"memory_reserved_bytes", node.memory_bytes - node.memory_free_bytes},
                       {"cpu_millicores", node.cpu_millicores},
                       {"cpu_reserved_millicores", node.cpu_millicores - node.cpu_free_millicores}});
}

}  // namespace

Json nodes_json(const std::vector<NodeRow>& nodes) {
  Json list = Json::array();
  for (const auto& node : nodes) list.append(node_json(node));
  return list;
}

namespace routes {

Task<void> list_nodes(Exchange& exchange) {
  Services& services = exchange.services;
  const auto nodes = co_await on_domain(services, exchange.request, [&services] { return services.nodes.all(); });
  if (!nodes) {
    co_await reply_error(exchange, nodes.error());
    co_return;
  }
  co_await reply_json(exchange, 200, Json::object({{"nodes", nodes_json(*nodes)}}));
}

}  // namespace routes
}  // namespace millrace
