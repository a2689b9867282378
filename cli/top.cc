#include "cli/top.h"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/nodes.h"
#include "cli/text.h"
#include "core/units.h"

namespace millrace::cli {
namespace {

constexpr const char* kClearScreen = "\033[H\033[J";
constexpr std::chrono::milliseconds kIntervalMin{100};

struct TopOptions {
  std::string interval = "2s";
  bool once = false;
};

std::string node_line(const Json& answer) {
  const Json* nodes = answer.find("nodes");
  if (nodes != nullptr && nodes->items().size() > 1) return nodes_table(*nodes).to_text() + "\n";
  const Json* node = answer.find("node");
  if (node == nullptr) return {};
  const auto cores = [node](std::string_view key) { return static_cast<double>(node->uint_or(key, 0)) / 1000; };
  return fmt::format("{}: {} of {} memory and {:.1f} of {:.1f} cores are reserved by what runs\n\n",
                     printable(node->string_or("name", "")), human_bytes(node->uint_or("memory_reserved_bytes", 0)),
                     human_bytes(node->uint_or("memory_bytes", 0)), cores("cpu_reserved_millicores"),
                     cores("cpu_millicores"));
}

Result<int> show(Context& context, bool redraw) {
  const auto answer = context.client().get("/api/v1/top");
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  context.print((redraw ? kClearScreen : "") + node_line(*answer));
  context.print_table(top_table(*answer));
  (void)std::fflush(stdout);
  return kOk;
}

Result<int> top(Context& context, const TopOptions& options) {
  const auto interval = parse_duration(options.interval);
  if (!interval) return fail(interval.error().with("--interval"));
  if (*interval < kIntervalMin) return fail(Errc::invalid_argument, "--interval: at least 100ms");
  const bool live = !options.once && !context.json() && isatty(STDOUT_FILENO) == 1;
  for (;;) {
    auto shown = show(context, live);
    if (!shown || !live) return shown;
    std::this_thread::sleep_for(*interval);
  }
}

}  // namespace

Table top_table(const Json& answer) {
  Table table({{"FUNCTION"},
               {"QUEUED", Align::right},
               {"RUNNING", Align::right},
               {"DELAYED", Align::right},
               {"DEAD", Align::right},
               {"RATE", Align::right},
               {"P99", Align::right},
               {"CPU", Align::right},
               {"MEMORY", Align::right},
               {"STATE"}});
  const Json* functions = answer.find("functions");
  if (functions == nullptr) return table;
  for (const auto& row : functions->items()) {
    const auto dead = row.uint_or("dead", 0);
    const auto p99 = row.uint_or("wall_p99_us", 0);
    const auto memory = row.uint_or("memory_peak_bytes", 0);
    const Json* resting = row.find("resting");
    const bool rests = resting != nullptr && resting->is_object();
    table.add({text_of(row, "name"),
               std::to_string(row.uint_or("queued", 0)),
               std::to_string(row.uint_or("running", 0)),
               std::to_string(row.uint_or("delayed", 0)),
               {std::to_string(dead), dead == 0 ? Tone::plain : Tone::bad},
               fmt::format("{:.1f}/s", row.number_or("rate_per_s", 0)),
               p99 == 0 ? std::string("-") : human_duration_us(p99),
               fmt::format("{:.2f}", row.number_or("cpu_cores", 0)),
               memory == 0 ? std::string("-") : human_bytes(memory),
               rests ? Cell("resting: " + text_of(*resting, "reason"), Tone::bad) : Cell()});
  }
  return table;
}

void add_top_command(Commands& commands) {
  auto [command, options] = add_command(commands, "top", "Shows how busy the functions are, again and again", top);
  command.add_flag("--once", options->once, "One table, as where the output is no terminal");
  command.add_option("--interval", options->interval, "Between two tables; 2s without it")->type_name("TIME");
  command.footer(
      "RATE, P99, CPU (cores) and MEMORY (the largest peak) are of the runs that ended within the last minute.");
}

}  // namespace millrace::cli
