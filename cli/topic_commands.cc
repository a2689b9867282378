#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "cli/exit_codes.h"
#include "cli/follow.h"
#include "cli/groups.h"
#include "cli/places.h"
#include "cli/text.h"

namespace millrace::cli {
namespace {

// Between two looks, for the rates.
constexpr std::chrono::milliseconds kRateSpan{1'000};

struct CreateOptions {
  std::string topic;
  std::string bytes_max;
  std::uint64_t messages_max = 0;
  std::vector<std::string> readers;
};

struct TopicsOptions {
  CreateOptions create;
  std::string watched;
  std::string removed;
  bool yes = false;
};

struct RedriveOptions {
  std::string target;
  std::vector<std::string> ids;
  bool list = false;
  std::size_t limit = 100;
};

// Rates are known from the second look on, a moment later. Programs look as often as they like.
Result<Json> look_twice(Context& context) {
  auto answer = context.client().get("/api/v1/topics");
  const Json* topics = answer ? answer->find("topics") : nullptr;
  if (topics == nullptr || context.json()) return answer;
  const bool unknown = std::ranges::any_of(topics->items(), [](const Json& topic) {
    const Json* rate = topic.find("published_per_s");
    return rate == nullptr || rate->is_null();
  });
  if (!unknown) return answer;
  std::this_thread::sleep_for(kRateSpan);
  return context.client().get("/api/v1/topics");
}

Cell rate_cell(const Json& topic, std::string_view key) {
  const Json* rate = topic.find(key);
  if (rate == nullptr || !rate->number()) return {"-", Tone::weak};
  const double per_s = *rate->number();
  return per_s == 0 ? Cell("0/s", Tone::weak)
                    : Cell(per_s < 10 ? fmt::format("{:.1f}/s", per_s) : fmt::format("{:.0f}/s", per_s));
}

// Who reads it: a function, a group of somebody else, or nobody yet.
Cell reader_cell(const Json& topic) {
  const std::string function = topic.string_or("function", "");
  if (!function.empty()) return {function};
  const std::string group = topic.string_or("group", "");
  return group.empty() ? Cell("nobody yet", Tone::weak) : Cell(group);
}

Result<int> list_topics(Context& context) {
  const auto answer = look_twice(context);
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  Table table({{"TOPIC"},
               {"READER"},
               {"PENDING", Align::right},
               {"IN FLIGHT", Align::right},
               {"DELAYED", Align::right},
               {"BLOCKED", Align::right},
               {"DEAD", Align::right},
               {"OLDEST", Align::right},
               {"PUBLISHED", Align::right},
               {"CONSUMED", Align::right}});
  if (const Json* topics = answer->find("topics")) {
    for (const auto& topic : topics->items()) {
      const auto dead = topic.uint_or("dead", 0);
      const auto oldest_ms = topic.uint_or("oldest_ms", 0);
      const bool overdue = topic.bool_or("overdue", false);
      table.add({topic.string_or("name", ""),
                 reader_cell(topic),
                 std::to_string(topic.uint_or("pending", 0)),
                 std::to_string(topic.uint_or("in_flight", 0)),
                 std::to_string(topic.uint_or("delayed", 0)),
                 std::to_string(topic.uint_or("blocked", 0)),
                 {std::to_string(dead), dead == 0 ? Tone::plain : Tone::bad},
                 oldest_ms == 0 ? Cell("-")
                                : Cell(human_duration_us(oldest_ms * 1000) + (overdue ? ", overdue" : ""),
                                       overdue ? Tone::bad : Tone::plain),
                 rate_cell(topic, "published_per_s"),
                 rate_cell(topic, "consumed_per_s")});
    }
  }
  context.print_table(table);
  return kOk;
}

Result<int> create_topic(Context& context, const CreateOptions& options) {
  Json bounds = Json::object();
  if (!options.bytes_max.empty()) bounds.set("bytes_max", options.bytes_max);
  if (options.messages_max > 0) bounds.set("messages_max", options.messages_max);
  if (!options.readers.empty()) {
    bounds.set("readers", Json::Array(options.readers.begin(), options.readers.end()));
  }
  HttpClientRequest request = request_for("PUT", "/api/v1/topics/" + encode_part(options.topic));
  request.headers.add("Content-Type", "application/json");
  request.body = bounds.dump();
  const auto response = context.client().send(std::move(request));
  if (!response) return fail(response.error());
  if (response->status != 200 && response->status != 201) return fail(error_of(*response));
  const auto answer = parse_json(response->body, response->body.size());
  if (!answer) return fail(answer.error().with("the server's answer"));
  if (context.json()) {
    context.print_json(*answer);
  } else {
    context.print((answer->bool_or("created", false) ? "created: " : "is there: ") + printable(options.topic) + "\n");
  }
  return kOk;
}

// What would go: the error that asks for --yes, or another one.
Error unconfirmed(Context& context, const std::string& name) {
  const auto answer = context.client().get("/api/v1/topics");
  if (!answer) return answer.error();
  std::string readers;
  const Json* topics = answer->find("topics");
  for (const auto& topic : topics == nullptr ? Json::Array() : topics->items()) {
    if (topic.string_or("name", "") != name) continue;
    const std::string reader = topic.string_or("group", "");
    readers += (readers.empty() ? "" : "; ") + told(leftover_in(topic)) +
               (reader.empty() ? " (no reader)" : " (reader '" + printable(reader) + "')");
  }
  if (readers.empty()) {
    return {.code = Errc::not_found, .message = "no topic is called '" + printable(name) + "'", .retry_after = {}};
  }
  return {.code = Errc::invalid_argument,
          .message = "nothing was deleted; with --yes it would be topic '" + printable(name) + "' with " + readers,
          .retry_after = {}};
}

Result<int> delete_topic(Context& context, const std::string& topic, bool yes) {
  if (!yes) return fail(unconfirmed(context, topic));
  const auto answer = context.client().remove("/api/v1/topics/" + encode_part(topic));
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
  } else {
    context.print("deleted: " + printable(topic) + ", with " + told(leftover_in(*answer)) + "\n");
  }
  return kOk;
}

Result<int> list_dead_letters(Context& context, const std::vector<Place>& places, std::size_t limit) {
  Json all = Json::array();
  for (const auto& place : places) {
    const auto answer = context.client().get(place.path("dead-letters") + "&limit=" + std::to_string(limit));
    if (!answer) return fail(answer.error());
    if (const Json* letters = answer->find("dead_letters")) {
      for (Json letter : letters->items()) {
        letter.set("topic", place.topic);
        if (all.items().size() < limit) all.append(std::move(letter));
      }
    }
  }
  if (context.json()) {
    context.print_json(Json::object({{"dead_letters", std::move(all)}}));
    return kOk;
  }
  Table table({{"ID"},
               {"EVENT"},
               {"TOPIC"},
               {"DIED"},
               {"FAILURES", Align::right},
               {"LOSSES", Align::right},
               {"INPUT"},
               {"REASON"}});
  const auto now = std::chrono::system_clock::now();
  for (const auto& letter : all.items()) {
    table.add({text_of(letter, "id"), text_of(letter, "event_id"), text_of(letter, "topic"),
               age(letter.string_or("died_at", ""), now), std::to_string(letter.uint_or("failures", 0)),
               std::to_string(letter.uint_or("losses", 0)), text_of(letter, "key"), text_of(letter, "reason")});
  }
  context.print_table(table);
  return kOk;
}

Result<int> redrive(Context& context, const RedriveOptions& options) {
  const auto places = places_of(context, options.target);
  if (!places) return fail(places.error());
  if (options.list) return list_dead_letters(context, *places, options.limit);
  std::string body;
  if (!options.ids.empty()) {
    Json ids = Json::array();
    for (const auto& id : options.ids) ids.append(id);
    body = Json::object({{"ids", std::move(ids)}}).dump();
  }
  std::uint64_t redriven = 0;
  for (const auto& place : *places) {
    const auto answer = context.client().post(place.path("redrive"), body, "application/json");
    if (!answer) return fail(answer.error());
    redriven += answer->uint_or("redriven", 0);
  }
  if (!options.ids.empty() && redriven == 0) {
    return fail(Errc::not_found,
                "none of these is a dead letter of '" + options.target + "'; `millrace redrive --list` names them");
  }
  if (context.json()) {
    context.print_json(Json::object({{"redriven", redriven}}));
  } else {
    context.print("redriven: " + counted(redriven, "event") + "\n");
  }
  return kOk;
}

}  // namespace

void add_topic_commands(Commands& commands) {
  const auto context = commands.context;
  const auto wanted = std::make_shared<TopicsOptions>();
  auto& topics =
      add_command(commands, "topics", "Lists topics, who reads them, and what waits there", [context, wanted] {
        if (!wanted->watched.empty()) return follow_topic(*context, wanted->watched);
        if (!wanted->removed.empty()) return delete_topic(*context, wanted->removed, wanted->yes);
        return wanted->create.topic.empty() ? list_topics(*context) : create_topic(*context, wanted->create);
      });
  auto* const create =
      topics.add_option("--create", wanted->create.topic, "Makes this topic, or sets the bounds of one that is there")
          ->type_name("TOPIC");
  topics.add_option("--bytes-max", wanted->create.bytes_max, "With --create: what it keeps at most; full, it refuses")
      ->type_name("SIZE")
      ->needs(create);
  topics.add_option("--messages-max", wanted->create.messages_max, "With --create: the same as a number of events")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40))
      ->type_name("N")
      ->needs(create);
  topics
      .add_option("--reader", wanted->create.readers,
                  "With --create: a group for a client of the broker that is none of ours")
      ->type_name("NAME")
      ->needs(create);
  auto* const remove =
      topics.add_option("--delete", wanted->removed, "Removes this topic, which no function reads, with all it holds")
          ->type_name("TOPIC")
          ->excludes(create);
  topics.add_option("--tail", wanted->watched, "Shows what is published on this topic from now on, and takes nothing")
      ->type_name("TOPIC")
      ->excludes(create)
      ->excludes(remove);
  topics.add_flag("--yes", wanted->yes, "With --delete: do it; without, it only says what would go")->needs(remove);

  auto [command, options] = add_command(commands, "redrive", "Runs events again that were given up", redrive);
  command.add_option("TARGET", options->target, "A function or a topic")->required();
  auto* const ids = command.add_option("ID", options->ids, "Dead letters; without any, all");
  command.add_flag("--list", options->list, "Only show the dead letters")->excludes(ids);
  command.add_option("--limit", options->limit, "With --list: at most so many")
      ->check(CLI::Range(1, 1'000))
      ->type_name("N");
}

}  // namespace millrace::cli
