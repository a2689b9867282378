#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/text.h"

namespace millrace::cli {
namespace {

struct RedriveOptions {
  std::string target;
  std::vector<std::string> ids;
  bool list = false;
  std::size_t limit = 100;
};

Result<int> list_topics(Context& context) {
  const auto answer = context.client().get("/api/v1/topics");
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  Table table({{"TOPIC"},
               {"PENDING", Align::right},
               {"IN FLIGHT", Align::right},
               {"DELAYED", Align::right},
               {"BLOCKED", Align::right},
               {"DEAD", Align::right},
               {"OLDEST", Align::right}});
  if (const Json* topics = answer->find("topics")) {
    for (const auto& topic : topics->items()) {
      const auto dead = topic.uint_or("dead", 0);
      const auto oldest_ms = topic.uint_or("oldest_ms", 0);
      const bool overdue = topic.bool_or("overdue", false);
      table.add({topic.string_or("name", ""),
                 std::to_string(topic.uint_or("pending", 0)),
                 std::to_string(topic.uint_or("in_flight", 0)),
                 std::to_string(topic.uint_or("delayed", 0)),
                 std::to_string(topic.uint_or("blocked", 0)),
                 {std::to_string(dead), dead == 0 ? Tone::plain : Tone::bad},
                 oldest_ms == 0 ? Cell("-")
                                : Cell(human_duration_us(oldest_ms * 1000) + (overdue ? ", overdue" : ""),
                                       overdue ? Tone::bad : Tone::plain)});
    }
  }
  context.print_table(table);
  return kOk;
}

// A function's dead letters lie on its work topic. A name that is both a function's and a topic's means the function.
Result<std::string> topic_of(Context& context, const std::string& target) {
  const auto answer = context.client().get("/api/v1/topics");
  if (!answer) return fail(answer.error());
  const Json* topics = answer->find("topics");
  if (topics != nullptr) {
    const auto is_there = [topics](const std::string& name) {
      return std::ranges::any_of(topics->items(),
                                 [&name](const Json& topic) { return topic.string_or("name", "") == name; });
    };
    if (is_there("fn." + target)) return "fn." + target;
    if (is_there(target)) return target;
  }
  return fail(Errc::not_found, "neither a function nor a topic is called '" + target + "'");
}

Result<int> list_dead_letters(Context& context, const std::string& topic, std::size_t limit) {
  const auto answer =
      context.client().get("/api/v1/topics/" + encode_part(topic) + "/dead-letters?limit=" + std::to_string(limit));
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  Table table({{"ID"}, {"DIED"}, {"FAILURES", Align::right}, {"LOSSES", Align::right}, {"INPUT"}, {"REASON"}});
  const auto now = std::chrono::system_clock::now();
  if (const Json* letters = answer->find("dead_letters")) {
    for (const auto& letter : letters->items()) {
      table.add({text_of(letter, "id"), age(letter.string_or("died_at", ""), now),
                 std::to_string(letter.uint_or("failures", 0)), std::to_string(letter.uint_or("losses", 0)),
                 text_of(letter, "key"), text_of(letter, "reason")});
    }
  }
  context.print_table(table);
  return kOk;
}

Result<int> redrive(Context& context, const RedriveOptions& options) {
  const auto topic = topic_of(context, options.target);
  if (!topic) return fail(topic.error());
  if (options.list) return list_dead_letters(context, *topic, options.limit);
  std::string body;
  if (!options.ids.empty()) {
    Json ids = Json::array();
    for (const auto& id : options.ids) ids.append(id);
    body = Json::object({{"ids", std::move(ids)}}).dump();
  }
  const auto answer =
      context.client().post("/api/v1/topics/" + encode_part(*topic) + "/redrive", std::move(body), "application/json");
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
  } else {
    context.print("redriven: " + counted(answer->uint_or("redriven", 0), "event") + "\n");
  }
  return kOk;
}

}  // namespace

void add_topic_commands(Commands& commands) {
  const auto context = commands.context;
  add_command(commands, "topics", "Lists topics and what waits on them", [context] { return list_topics(*context); });

  const auto options = std::make_shared<RedriveOptions>();
  auto& command = add_command(commands, "redrive", "Runs events again that were given up",
                              [context, options] { return redrive(*context, *options); });
  command.add_option("TARGET", options->target, "A function or a topic")->required();
  auto* const ids = command.add_option("ID", options->ids, "Dead letters; without any, all");
  command.add_flag("--list", options->list, "Only show the dead letters")->excludes(ids);
  command.add_option("--limit", options->limit, "With --list: at most so many")
      ->check(CLI::Range(1, 1'000))
      ->type_name("N");
}

}  // namespace millrace::cli
