#include "cli/commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "formats/diagnostics.h"

namespace millrace::cli {
namespace {

constexpr const char* kFooter =
    "Server: --url URL, else MILLRACE_URL, else http://127.0.0.1:8090.\n"
    "Token: MILLRACE_TOKEN, else the file admin-token in --data DIR or MILLRACE_DATA, else, for a server on this\n"
    "machine (a loopback URL), in /var/lib/millrace.\n"
    "Tables are for people; -o json is for programs. NO_COLOR turns colours off.\n"
    "\n"
    "Exit codes:\n"
    "  0  done\n"
    "  1  the server, or the system, said no; a run that was waited for did not succeed\n"
    "  2  wrong arguments, or a file named there that cannot be opened, is too large or is wrong\n"
    "  3  no server answered\n"
    "  4  no token, or a wrong one\n"
    "  5  there is no such function, object, run or topic\n"
    "  6  `wait` was too short\n"
    "`millrace run` exits with the function's own code where there is one, 128 + N after signal N.";

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::string unknown_command(const std::vector<std::string>& names, std::string_view word) {
  std::string message = "unknown command '" + std::string(word) + "'";
  const std::vector<std::string_view> views(names.begin(), names.end());
  if (const auto near = nearest_name(word, views)) message += "; did you mean '" + std::string(*near) + "'?";
  return message + (message.ends_with('?') ? "" : ".") + " Try `millrace --help`.";
}

// The command the user had got to, for "try `millrace put --help`".
std::string help_hint(const CLI::App& app) {
  const auto parsed = app.get_subcommands();
  return "try `millrace " + (parsed.empty() ? std::string() : parsed.front()->get_name() + " ") + "--help`";
}

}  // namespace

CLI::App& add_command(Commands& commands, const std::string& name, const std::string& help,
                      std::function<Result<int>()> run) {
  CLI::App& command = *commands.app.add_subcommand(name, help);
  add_client_options(command, commands.globals);
  command.callback([context = commands.context, run = std::move(run)] { context->finish(run()); });
  return command;
}

void add_client_options(CLI::App& command, Globals& globals) {
  constexpr const char* kGroup = "Server";
  command.add_option("--url", globals.url, "Where the server is")->type_name("URL")->group(kGroup);
  command.add_option("--data", globals.data, "The server's data directory, for its token")
      ->type_name("DIR")
      ->group(kGroup);
  command
      .add_option_function<std::string>(
          "-o,--output", [&globals](const std::string& format) { globals.json = format == "json"; }, "json or table")
      ->check(CLI::IsMember({"json", "table"}))
      ->type_name("FORMAT")
      ->group(kGroup);
}

void add_commands(CLI::App& app, Globals& globals, int& exit_code) {
  app.require_subcommand(1);
  Commands commands{.app = app, .globals = globals, .context = std::make_shared<Context>(globals, exit_code)};
  add_function_commands(commands);
  add_list_command(commands);
  add_invoke_commands(commands);
  add_publish_command(commands);
  add_object_commands(commands);
  add_run_commands(commands);
  add_wait_command(commands);
  add_why_command(commands);
  add_topic_commands(commands);
  add_purge_command(commands);
  add_replay_command(commands);
  add_stats_command(commands);
  add_top_command(commands);
  add_nodes_command(commands);
  app.footer(kFooter);  // last, or every command would repeat it
}

int parse_and_run(CLI::App& app, int argc, const char* const* argv, const int& exit_code) {
  // CLI11 would only say that a command is missing.
  const std::string_view first = argc > 1 ? argv[1] : "";
  const auto names = command_names(app);
  if (!first.empty() && !first.starts_with('-') && std::ranges::find(names, first) == names.end()) {
    Context::complain(unknown_command(names, first));
    return kUsage;
  }
  try {
    app.parse(argc, argv);
    return exit_code;
  } catch (const CLI::ParseError& error) {
    // Help and version come as errors as well, with code 0.
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
    Context::complain(std::string(error.what()) + "; " + help_hint(app));
    return kUsage;
  }
}

}  // namespace millrace::cli
