#include "app/log_command.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "broker/log/log_inspection.h"
#include "cli/context.h"
#include "cli/exit_codes.h"
#include "cli/table.h"
#include "cli/text.h"
#include "formats/json.h"

namespace millrace {
namespace {

constexpr int kTorn = 1;
constexpr int kDamaged = 2;
constexpr int kNotLookedAt = 3;

constexpr const char* kFooter =
    "DIR is a log directory, or the data directory that it is the folder `log` of. Its server must be stopped.\n"
    "Nothing is ever written.\n"
    "\n"
    "Exit codes:\n"
    "  0  the log is whole\n"
    "  1  its end is torn, as after a crash: the next start drops the last batch\n"
    "  2  something confirmed is damaged: a server refuses to start on it; or wrong arguments\n"
    "  3  it could not be looked at: there is no log, it is in use, not readable, or of a newer version";

struct LogOptions {
  std::string directory;
};

int exit_code_of(LogHealth health) {
  switch (health) {
    case LogHealth::whole: return cli::kOk;
    case LogHealth::torn: return kTorn;
    case LogHealth::damaged: return kDamaged;
  }
  return kDamaged;
}

std::string log_folder(const std::string& directory) {
  std::error_code error;
  const auto inside = std::filesystem::path(directory) / "log";
  return std::filesystem::is_directory(inside, error) ? inside.string() : directory;
}

Result<LogInspection> look(const std::string& folder) {
  const auto files = open_log_directory_to_read(folder);
  if (!files) return fail(files.error());
  return inspect_log(**files, std::chrono::system_clock::now());
}

std::string age_of(const InspectedGroup& group) {
  if (!group.oldest) return "-";
  return cli::human_duration_us(static_cast<std::uint64_t>(group.oldest->count()) * 1000);
}

// Names of files may be any bytes.
Json name_json(const std::string& name) {
  return {cli::printable(name)};
}

Json health_json(const std::string& folder, const LogInspection& found) {
  Json json = Json::object({{"directory", name_json(folder)},
                            {"state", std::string(name_of(found.health))},
                            {"format_version", std::uint64_t{found.format_version}},
                            {"last_batch", found.last_batch}});
  if (found.health == LogHealth::torn) {
    json.set("torn",
             Json::object({{"file", found.torn_file}, {"offset", found.torn_from}, {"bytes", found.torn_bytes}}));
  }
  if (!found.damage) {
    json.set("messages", found.messages);
    return json;
  }
  Json affected = Json::array();
  for (const auto& topic : found.damage->affected) {
    affected.append(Json::object(
        {{"topic", topic.name}, {"first", topic.first}, {"last", topic.last ? Json(*topic.last) : Json()}}));
  }
  json.set("damage", Json::object({{"message", cli::printable(found.damage->message)},
                                   {"file", found.damage->file},
                                   {"offset", found.damage->offset},
                                   {"unreadable_from", found.damage->unreadable_from},
                                   {"unreadable_to", found.damage->unreadable_to},
                                   {"affected", std::move(affected)}}));
  return json;
}

Json contents_json(Json json, const LogInspection& found) {
  Json segments = Json::array();
  for (const auto& each : found.segments) {
    segments.append(Json::object({{"file", name_json(each.file)},
                                  {"epoch", std::uint64_t{each.epoch}},
                                  {"size_bytes", each.size_bytes},
                                  {"used_bytes", each.used_bytes},
                                  {"live_bytes", each.live_bytes},
                                  {"state", std::string(name_of(each.state))}}));
  }
  Json topics = Json::array();
  for (const auto& topic : found.topics) {
    Json groups = Json::array();
    for (const auto& group : topic.groups) {
      groups.append(Json::object({{"name", group.name},
                                  {"pending", group.pending},
                                  {"in_work", group.in_work},
                                  {"delayed", group.delayed},
                                  {"dead", group.dead},
                                  {"oldest_ms", group.oldest ? Json(std::int64_t{group.oldest->count()}) : Json()}}));
    }
    topics.append(Json::object({{"name", topic.name},
                                {"messages", topic.messages},
                                {"size_bytes", topic.size_bytes},
                                {"groups", std::move(groups)}}));
  }
  Json others = Json::array();
  for (const auto& name : found.other_files) others.append(name_json(name));
  json.set("segments", std::move(segments));
  json.set("topics", std::move(topics));
  json.set("other_files", std::move(others));
  return json;
}

void print_health(cli::Context& context, const LogInspection& found) {
  switch (found.health) {
    case LogHealth::whole:
      context.print("whole: " + cli::counted(found.messages, "message") + ", last batch " +
                    std::to_string(found.last_batch) + "\n");
      return;
    case LogHealth::torn:
      context.print("torn end: the next start drops " + cli::counted(found.torn_bytes, "byte") + " of " +
                    found.torn_file + " from byte " + std::to_string(found.torn_from) +
                    " on, an unfinished batch; everything before is whole (" + cli::counted(found.messages, "message") +
                    ")\n");
      return;
    case LogHealth::damaged: break;
  }
  context.print("damaged: " + cli::printable(found.damage->message) + "\n");
  if (found.damage->unreadable_from < found.damage->unreadable_to) {
    context.print("not readable: bytes " + std::to_string(found.damage->unreadable_from) + " to " +
                  std::to_string(found.damage->unreadable_to - 1) + " of " + found.damage->file + "\n");
  }
  for (const auto& topic : found.damage->affected) {
    context.print("may be affected: topic " + cli::printable(topic.name) + ", messages from number " +
                  std::to_string(topic.first) + (topic.last ? " to " + std::to_string(*topic.last) : " on") + "\n");
  }
}

void print_contents(cli::Context& context, const LogInspection& found) {
  context.print("format version " + std::to_string(found.format_version) + "\n\n");
  cli::Table segments({{"SEGMENT"},
                       {"EPOCH", cli::Align::right},
                       {"SIZE", cli::Align::right},
                       {"USED", cli::Align::right},
                       {"LIVE", cli::Align::right},
                       {"STATE"}});
  for (const auto& each : found.segments) {
    segments.add({each.file, each.epoch == 0 ? "-" : std::to_string(each.epoch), cli::human_bytes(each.size_bytes),
                  cli::human_bytes(each.used_bytes), cli::human_bytes(each.live_bytes),
                  std::string(name_of(each.state))});
  }
  context.print_table(segments);
  cli::Table topics({{"TOPIC"},
                     {"GROUP"},
                     {"PENDING", cli::Align::right},
                     {"IN WORK", cli::Align::right},
                     {"DELAYED", cli::Align::right},
                     {"DEAD", cli::Align::right},
                     {"OLDEST", cli::Align::right}});
  for (const auto& topic : found.topics) {
    if (topic.groups.empty()) topics.add({topic.name, "(none yet)", std::to_string(topic.messages)});
    for (const auto& group : topic.groups) {
      topics.add({topic.name,
                  group.name,
                  std::to_string(group.pending),
                  std::to_string(group.in_work),
                  std::to_string(group.delayed),
                  {std::to_string(group.dead), group.dead == 0 ? cli::Tone::plain : cli::Tone::bad},
                  age_of(group)});
    }
  }
  if (!topics.empty()) context.print("\n");
  context.print_table(topics);
  for (const auto& name : found.other_files) context.print("not of a log: " + cli::printable(name) + "\n");
}

int show(cli::Context& context, const std::string& directory, bool contents) {
  const std::string folder = log_folder(directory);
  const auto found = look(folder);
  if (!found) {
    cli::Context::complain(found.error().message);
    return kNotLookedAt;
  }
  if (context.json()) {
    Json json = health_json(folder, *found);
    context.print_json(contents ? contents_json(std::move(json), *found) : json);
  } else {
    print_health(context, *found);
    if (contents) print_contents(context, *found);
  }
  return exit_code_of(found->health);
}

}  // namespace

void add_log_commands(CLI::App& app, cli::Globals& globals, int& exit_code) {
  const auto context = std::make_shared<cli::Context>(globals, exit_code);
  auto* const log = app.add_subcommand("log", "Looks into the log of a server that is stopped");
  log->require_subcommand(1);
  log->footer(kFooter);
  const auto add = [&](const std::string& name, const std::string& help, bool contents) {
    const auto options = std::make_shared<LogOptions>();
    auto* const command = log->add_subcommand(name, help);
    command->footer(kFooter);
    command->add_option("DIR", options->directory, "The log's directory")->required();
    command
        ->add_option_function<std::string>(
            "-o,--output", [&globals](const std::string& format) { globals.json = format == "json"; }, "json or table")
        ->check(CLI::IsMember({"json", "table"}))
        ->type_name("FORMAT");
    command->callback([context, options, contents] { context->finish(show(*context, options->directory, contents)); });
  };
  add("inspect", "Shows what is in it: segments, topics, what waits for whom", true);
  add("verify", "Reads all of it and says whether it is whole", false);
}

}  // namespace millrace
