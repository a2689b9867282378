#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/follow.h"
#include "cli/groups.h"
#include "cli/runs.h"
#include "cli/text.h"
#include "formats/object_reader.h"

namespace millrace::cli {
namespace {

using Clock = std::chrono::system_clock;

constexpr std::size_t kReasonShown = 80;

struct RunsOptions {
  std::string id;
  RunsWanted wanted;
  bool follow = false;
};

struct LogOptions {
  std::string id;
  bool follow = false;
};

struct RunIds {
  std::vector<std::string> ids;
};

// What is said of a run in one word: how it ended, or what it is doing.
std::string state_of(const Json& run) {
  const std::string outcome = run.string_or("outcome", "");
  return outcome.empty() ? run.string_or("state", "") : outcome;
}

std::string input_of(const Json& run) {
  const Json* input = run.find("input");
  return input == nullptr ? text_of(run, "key") : object_name(input);
}

std::string measured(const Json& run, std::string_view key, std::string (*show)(std::uint64_t)) {
  const Json* usage = run.find("usage");
  if (usage == nullptr || usage->uint_or(key, 0) == 0) return "-";
  return show(usage->uint_or(key, 0));
}

std::string shortened(std::string text) {
  text = text.substr(0, text.find('\n'));
  if (text.size() <= kReasonShown) return text;
  std::size_t end = kReasonShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // never half a character
  return text.substr(0, end) + "...";
}

std::vector<Cell> cells_of(const Json& run, Clock::time_point now) {
  const std::string state = state_of(run);
  return {run.string_or("run_id", ""),
          run.string_or("function", ""),
          {state, tone_of(state)},
          age(run.string_or("queued_at", ""), now),
          measured(run, "wall_us", human_duration_us),
          measured(run, "cpu_us", human_duration_us),
          measured(run, "memory_peak_bytes", human_bytes),
          std::to_string(run.uint_or("failures", 0) + run.uint_or("losses", 0)),
          input_of(run),
          shortened(text_of(run, "reason").empty() ? unplaced_text(run) : text_of(run, "reason"))};
}

Result<int> list_runs(Context& context, const RunsWanted& wanted) {
  auto found = fetch_runs(context.client(), wanted);
  if (!found) return fail(found.error());
  if (context.json()) {
    context.print_json(Json::object(
        {{"runs", std::move(found->runs)}, {"truncated", found->truncated}, {"more_live", found->more_live}}));
    return kOk;
  }
  Table table({{"RUN"},
               {"FUNCTION"},
               {"OUTCOME"},
               {"QUEUED"},
               {"WALL", Align::right},
               {"CPU", Align::right},
               {"MEMORY", Align::right},
               {"FAILED TRIES", Align::right},
               {"INPUT"},
               {"REASON"}});
  const auto now = Clock::now();
  for (const auto& run : found->runs) table.add(cells_of(run, now));
  context.print_table(table);
  if (found->truncated)
    Context::complain("there are more; say --limit N for more than " + std::to_string(wanted.limit));
  if (found->more_live && !found->truncated)
    Context::complain("more runs wait than are shown; `millrace top` and `millrace topics` count them");
  return kOk;
}

// What a run cost beside time and memory; nothing where nothing was measured.
std::string account_of(const Json& usage) {
  std::string text;
  const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (const double gb_seconds = usage.number_or("gb_seconds", 0); gb_seconds > 0) {
    add(fmt::format("{:.3g} GB-seconds", gb_seconds));
  }
  if (const auto us = usage.uint_or("throttled_us", 0); us > 0) add("throttled " + human_duration_us(us));
  if (const auto bytes = usage.uint_or("output_bytes", 0); bytes > 0) add("output " + human_bytes(bytes));
  if (const auto bytes = usage.uint_or("read_bytes", 0); bytes > 0) add("read " + human_bytes(bytes));
  if (const auto bytes = usage.uint_or("written_bytes", 0); bytes > 0) add("written " + human_bytes(bytes));
  return text;
}

void print_facts(Context& context, const Json& run) {
  const auto line = [&context](std::string_view name, const std::string& value) {
    if (!value.empty()) context.print(std::string(name) + std::string(11 - name.size(), ' ') + printable(value) + "\n");
  };
  line("run", run.string_or("run_id", ""));
  line("function", run.string_or("function", ""));
  line("event", run.string_or("event_id", ""));
  line("outcome", state_of(run));
  line("reason", text_of(run, "reason"));
  line("outputs", unplaced_text(run));
  line("input", input_of(run));
  line("caused by", run.string_or("cause", ""));
  line("queued", run.string_or("queued_at", ""));
  line("started", run.string_or("started_at", ""));
  line("committed", run.string_or("committed_at", ""));
  if (run.find("usage") != nullptr) {
    line("time", measured(run, "wall_us", human_duration_us) + " (cpu " + measured(run, "cpu_us", human_duration_us) +
                     ", queued " + measured(run, "queued_us", human_duration_us) + ", start " +
                     measured(run, "start_us", human_duration_us) + ")");
    line("memory", measured(run, "memory_peak_bytes", human_bytes));
    line("account", account_of(*run.find("usage")));
  }
  if (const Json* outputs = run.find("outputs")) {
    for (const auto& output : outputs->items()) line("output", object_name(&output));
  }
}

std::string ending_of(const Json& attempt) {
  if (attempt.find("outcome") == nullptr) return attempt.find("ended_at") == nullptr ? "running or lost" : "";
  const std::string message = text_of(attempt, "message");
  return message.empty() ? "exit code " + std::to_string(attempt.int_or("exit_code", 0)) : shortened(message);
}

Result<int> show_run(Context& context, const std::string& id) {
  const auto run = context.client().get("/api/v1/runs/" + encode_part(id));
  if (!run) return fail(run.error());
  if (context.json()) {
    context.print_json(*run);
    return kOk;
  }
  print_facts(context, *run);
  Table table({{"ATTEMPT", Align::right}, {"NODE"}, {"STARTED"}, {"OUTCOME"}, {"WALL", Align::right}, {"ENDING"}});
  std::size_t number = 0;
  if (const Json* attempts = run->find("attempts")) {
    for (const auto& attempt : attempts->items()) {
      const std::string outcome = attempt.string_or("outcome", "-");
      table.add({std::to_string(++number),
                 text_of(attempt, "node"),
                 attempt.string_or("started_at", ""),
                 {outcome, tone_of(outcome)},
                 measured(attempt, "wall_us", human_duration_us),
                 ending_of(attempt)});
    }
  }
  if (!table.empty()) context.print("\n");
  context.print_table(table);
  return kOk;
}

Result<int> show_log(Context& context, const std::string& id) {
  const auto response = context.client().send(request_for("GET", "/api/v1/runs/" + encode_part(id) + "/log"));
  if (!response) return fail(response.error());
  if (response->status != 200) return fail(error_of(*response));
  if (context.json()) {
    context.print_json(Json::object({{"run_id", id}, {"log", raw_json(response->body)}}));
  } else {
    context.print(response->body);
  }
  return kOk;
}

Result<int> cancel_runs(Context& context, const RunIds& options) {
  Json all = Json::array();
  for (const auto& id : options.ids) {
    auto answer = context.client().post("/api/v1/runs/" + encode_part(id) + "/cancel", "", "application/json");
    if (!answer) return fail(answer.error());
    if (!context.json()) context.print("cancelling " + printable(id) + "\n");
    all.append(std::move(*answer));
  }
  if (context.json()) context.print_json(Json::object({{"runs", std::move(all)}}));
  return kOk;
}

}  // namespace

void add_run_commands(Commands& commands) {
  const auto context = commands.context;

  const auto listed = std::make_shared<RunsOptions>();
  auto& runs = add_command(commands, "runs", "Lists runs, or shows one with its attempts", [context, listed] {
    if (listed->follow) return follow_runs(*context, listed->wanted.function);
    return listed->id.empty() ? list_runs(*context, listed->wanted) : show_run(*context, listed->id);
  });
  auto* const id = runs.add_option("RUN", listed->id, "One run");
  runs.add_option("-f,--function", listed->wanted.function, "Only of this function")->type_name("NAME")->excludes(id);
  runs.add_option("--outcome", listed->wanted.outcome, "succeeded, dead_lettered, failed, cancelled or skipped")
      ->type_name("OUTCOME")
      ->excludes(id);
  runs.add_option("--since", listed->wanted.since, "Only of this last time, such as 30m or 1h")
      ->type_name("TIME")
      ->excludes(id);
  runs.add_option("--limit", listed->wanted.limit, "At most so many")->check(CLI::Range(1, 1'000'000))->type_name("N");

  runs.add_flag("--follow", listed->follow,
                "Print runs as they start, fail and end; with -o json one line for each step")
      ->excludes(id);

  const auto logged = std::make_shared<LogOptions>();
  auto& logs = add_command(commands, "logs", "Prints what a run wrote to its stdout and stderr", [context, logged] {
    return logged->follow ? follow_log(*context, logged->id) : show_log(*context, logged->id);
  });
  logs.add_option("RUN", logged->id, "Its id")->required();
  logs.add_flag("-f,--follow", logged->follow, "Until the run is over, as it is written; 0 if it succeeded");

  const auto cancelled = std::make_shared<RunIds>();
  auto& cancel = add_command(commands, "cancel", "Cancels runs that are queued or running",
                             [context, cancelled] { return cancel_runs(*context, *cancelled); });
  cancel.add_option("RUN", cancelled->ids, "Their ids")->required();
}

}  // namespace millrace::cli
