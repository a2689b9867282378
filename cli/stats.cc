#include "cli/stats.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/runs.h"

namespace millrace::cli {
namespace {

constexpr std::size_t kRunsMax = 100'000;  // about 100 MB here

struct Measure {
  std::string_view name;  // in the server's answers and ours
  const char* title;
  std::vector<std::uint64_t> FunctionStats::* values;
  std::string (*show)(std::uint64_t);
};

constexpr std::array kMeasures{
    Measure{"wall_us", "WALL p50 / p99", &FunctionStats::wall_us, human_duration_us},
    Measure{"cpu_us", "CPU p50 / p99", &FunctionStats::cpu_us, human_duration_us},
    Measure{"memory_peak_bytes", "MEMORY p50 / p99", &FunctionStats::memory_peak_bytes, human_bytes},
    Measure{"queued_us", "QUEUED p50 / p99", &FunctionStats::queued_us, human_duration_us},
    Measure{"start_us", "START p50 / p99", &FunctionStats::start_us, human_duration_us},
};

void add_run(FunctionStats& stats, const Json& run) {
  ++stats.outcomes[run.string_or("outcome", "")];
  stats.failures += run.uint_or("failures", 0);
  stats.losses += run.uint_or("losses", 0);
  // A run that was skipped or cancelled in the queue never started, and would count as a quick one.
  const Json* usage = run.find("usage");
  if (usage == nullptr || usage->uint_or("wall_us", 0) == 0) return;
  for (const auto& measure : kMeasures) (stats.*measure.values).push_back(usage->uint_or(measure.name, 0));
}

std::string outcomes_text(const FunctionStats& stats) {
  std::string text;
  const auto add = [&text](const std::string& name, std::uint64_t count) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + name;
  };
  for (const auto& [outcome, count] : stats.outcomes) add(outcome, count);
  if (stats.going_on > 0) add("going on", stats.going_on);
  return text;
}

Tone tone_of_all(const FunctionStats& stats) {
  const bool bad =
      std::ranges::any_of(stats.outcomes, [](const auto& outcome) { return tone_of(outcome.first) == Tone::bad; });
  return bad ? Tone::bad : Tone::good;
}

Result<int> show_stats(Context& context, const RunsWanted& wanted) {
  const auto found = fetch_runs(context.client(), wanted);
  if (!found) return fail(found.error());
  const auto stats = stats_of(found->runs);
  if (context.json()) {
    Json json = stats_json(stats);
    json.set("truncated", found->truncated);
    context.print_json(json);
    return kOk;
  }
  context.print_table(stats_table(stats));
  if (found->truncated) Context::complain("only the latest " + std::to_string(wanted.limit) + " runs are counted");
  return kOk;
}

}  // namespace

Quantiles quantiles_of(std::vector<std::uint64_t> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const auto rank = [&values](std::size_t percent) { return values[(values.size() * percent + 99) / 100 - 1]; };
  return {.p50 = rank(50), .p99 = rank(99)};
}

std::map<std::string, FunctionStats> stats_of(const Json::Array& runs) {
  std::map<std::string, FunctionStats> stats;
  std::map<std::string, const Json*> by_id;  // the record of a run is newer than what was known while it went on
  for (const auto& run : runs) {
    const Json*& known = by_id[run.string_or("run_id", "")];
    if (known == nullptr || run.find("outcome") != nullptr) known = &run;
  }
  for (const auto& [id, run] : by_id) {
    FunctionStats& of_function = stats[run->string_or("function", "")];
    if (run->find("outcome") == nullptr) {
      ++of_function.going_on;
    } else {
      add_run(of_function, *run);
    }
  }
  return stats;
}

Table stats_table(const std::map<std::string, FunctionStats>& stats) {
  std::vector<Column> columns{{"FUNCTION"}, {"RUNS", Align::right}, {"OUTCOMES"}, {"FAILED TRIES", Align::right}};
  for (const auto& measure : kMeasures) columns.push_back({measure.title, Align::right});
  Table table(std::move(columns));
  for (const auto& [name, of_function] : stats) {
    std::uint64_t runs = of_function.going_on;
    for (const auto& [outcome, count] : of_function.outcomes) runs += count;
    std::vector<Cell> cells{name,
                            std::to_string(runs),
                            {outcomes_text(of_function), tone_of_all(of_function)},
                            std::to_string(of_function.failures + of_function.losses)};
    for (const auto& measure : kMeasures) {
      const auto& values = of_function.*measure.values;
      const auto found = quantiles_of(values);
      cells.emplace_back(values.empty() ? std::string("-") : measure.show(found.p50) + " / " + measure.show(found.p99));
    }
    table.add(std::move(cells));
  }
  return table;
}

Json stats_json(const std::map<std::string, FunctionStats>& stats) {
  Json list = Json::array();
  for (const auto& [name, of_function] : stats) {
    Json outcomes = Json::object();
    for (const auto& [outcome, count] : of_function.outcomes) outcomes.set(outcome, count);
    Json json = Json::object({{"function", name},
                              {"going_on", of_function.going_on},
                              {"outcomes", std::move(outcomes)},
                              {"failures", of_function.failures},
                              {"losses", of_function.losses},
                              {"measured", of_function.wall_us.size()}});
    for (const auto& measure : kMeasures) {
      const auto found = quantiles_of(of_function.*measure.values);
      json.set(measure.name, Json::object({{"p50", found.p50}, {"p99", found.p99}}));
    }
    list.append(std::move(json));
  }
  return Json::object({{"functions", std::move(list)}});
}

void add_stats_command(Commands& commands) {
  const auto context = commands.context;
  const auto wanted = std::make_shared<RunsWanted>();
  wanted->limit = kRunsMax;
  auto& command = add_command(commands, "stats", "Sums up runs by function: outcomes, times, memory",
                              [context, wanted] { return show_stats(*context, *wanted); });
  command.add_option("-f,--function", wanted->function, "Only this function")->type_name("NAME");
  command.add_option("--since", wanted->since, "Only runs of this last time, such as 30m or 1h")->type_name("TIME");
  command.footer("QUEUED is from the event to the run's start, START from the request to the function's first step.");
}

}  // namespace millrace::cli
