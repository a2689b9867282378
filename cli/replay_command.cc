#include <CLI/CLI.hpp>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/text.h"

namespace millrace::cli {
namespace {

struct ReplayOptions {
  std::string function;
  bool again = false;
};

Result<int> replay(Context& context, const ReplayOptions& options) {
  const auto answer = context.client().post(
      "/api/v1/functions/" + encode_part(options.function) + "/replay" + (options.again ? "?again" : ""), "",
      "application/json");
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  std::string text = "replayed: " + counted(answer->uint_or("published", 0), "object");
  if (const auto known = answer->uint_or("known", 0); known > 0) {
    text += ", " + std::to_string(known) + (options.again ? " going on already" : " had a run already");
  }
  if (const auto news = answer->uint_or("news", 0); news > 0) {
    text += ", " + std::to_string(news) + " just appeared and need none";
  }
  context.print(text + "\n");
  return kOk;
}

}  // namespace

void add_replay_command(Commands& commands) {
  auto [command, options] =
      add_command(commands, "replay", "Runs a function on what lies in its inputs and has no run yet", replay);
  command.add_option("FUNCTION", options->function, "Its name")->required();
  command.add_flag("--again", options->again, "On everything, also where there was a run");
  command.footer(
      "What lay in an input when its function was applied has started nothing; `replay` makes up for that. With "
      "--again\n"
      "new outputs take the names of the earlier ones. Repeating it is safe: no object gets two runs of one replay.");
}

}  // namespace millrace::cli
