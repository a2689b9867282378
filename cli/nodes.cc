#include "cli/nodes.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/text.h"

namespace millrace::cli {
namespace {

double cores(const Json& node, std::string_view key) {
  return static_cast<double>(node.uint_or(key, 0)) / 1000;
}

Result<int> list_nodes(Context& context) {
  const auto answer = context.client().get("/api/v1/nodes");
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  if (const Json* nodes = answer->find("nodes")) context.print_table(nodes_table(*nodes));
  return kOk;
}

}  // namespace

Table nodes_table(const Json& nodes) {
  Table table({{"NODE"},
               {"STATE"},
               {"ROLES"},
               {"RUNNING", Align::right},
               {"CPU", Align::right},
               {"MEMORY", Align::right},
               {"HEARTBEAT", Align::right},
               {"UP", Align::right},
               {"VERSION"}});
  const auto now = std::chrono::system_clock::now();
  for (const auto& node : nodes.items()) {
    const bool live = node.string_or("state", "") == "live";
    table.add(
        {text_of(node, "name"), Cell(text_of(node, "state"), live ? Tone::plain : Tone::bad), text_of(node, "roles"),
         std::to_string(node.uint_or("running", 0)),
         fmt::format("{:.1f}/{:.1f}", cores(node, "cpu_reserved_millicores"), cores(node, "cpu_millicores")),
         human_bytes(node.uint_or("memory_reserved_bytes", 0)) + "/" + human_bytes(node.uint_or("memory_bytes", 0)),
         human_duration_us(node.uint_or("heartbeat_ago_ms", 0) * 1000) + " ago",
         age(node.string_or("started_at", ""), now), text_of(node, "version")});
  }
  return table;
}

void add_nodes_command(Commands& commands) {
  const auto context = commands.context;
  auto& command = add_command(commands, "nodes", "Lists the daemons that share functions and records",
                              [context] { return list_nodes(*context); });
  command.footer(
      "CPU and MEMORY: reserved by what runs, of what is there for functions. A node that is gone is shown for an "
      "hour.");
}

}  // namespace millrace::cli
