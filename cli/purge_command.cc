#include <CLI/CLI.hpp>
#include <utility>
#include <vector>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/places.h"
#include "cli/text.h"

namespace millrace::cli {
namespace {

struct PurgeOptions {
  std::string target;
  std::string group;
  bool yes = false;
};

// What would go, place by place: the error that asks for --yes.
Error unconfirmed(const std::vector<Place>& places) {
  std::string message = "nothing was thrown away; with --yes it would be";
  for (const auto& place : places) {
    message += (&place == &places.front() ? " " : "; ") + told(place.left) + " (topic '" + printable(place.topic) +
               "', reader '" + printable(place.group) + "')";
  }
  return {.code = Errc::invalid_argument, .message = std::move(message), .retry_after = {}};
}

Result<int> purge(Context& context, const PurgeOptions& options) {
  auto places = places_of(context, options.target);
  if (!places) return fail(places.error());
  if (!options.group.empty()) {
    std::erase_if(*places, [&options](const Place& place) { return place.group != options.group; });
  }
  if (places->empty()) {
    return fail(Errc::not_found, "'" + options.target + "' has no reader" +
                                     (options.group.empty() ? " yet" : " called '" + options.group + "'"));
  }
  if (!options.yes) return fail(unconfirmed(*places));
  Leftover gone;
  for (const auto& place : *places) {
    const auto answer = context.client().post(place.path("purge"), "", "application/json");
    if (!answer) return fail(answer.error());
    gone += leftover_in(*answer);
  }
  if (context.json()) {
    context.print_json(Json::object(
        {{"purged", gone.all()}, {"waiting", gone.waiting}, {"in_flight", gone.in_flight}, {"dead", gone.dead}}));
  } else {
    context.print("thrown away: " + told(gone) + "\n");
  }
  return kOk;
}

}  // namespace

void add_purge_command(Commands& commands) {
  auto [command, options] =
      add_command(commands, "purge", "Throws away the events that a function or a topic's readers have left", purge);
  command.add_option("TARGET", options->target, "A function or a topic")->required();
  command.add_option("--group", options->group, "Only this reader's")->type_name("NAME");
  command.add_flag("--yes", options->yes, "Do it; without, it only says what would go");
  command.footer(
      "What waits, what is being worked on (its runs are stopped) and the dead letters: all of it goes for good, for "
      "these\n"
      "readers and no other. Records of runs stay.");
}

}  // namespace millrace::cli
