// Every command that talks to a server, as subcommands of the program's parser.
//
//   CLI::App app("Serverless for files and events");
//   Globals globals;
//   int exit_code = kOk;
//   add_commands(app, globals, exit_code);
//   return parse_and_run(app, argc, argv, exit_code);
//
// Commands run inside the parse. The three must stay where they are until it is over.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the name is theirs
class App;
}  // namespace CLI

namespace millrace::cli {

inline constexpr const char* kDefaultUrl = "http://127.0.0.1:8090";
inline constexpr const char* kDefaultData = "/var/lib/millrace";

// What every command understands. Empty: the environment decides, then the default.
struct Globals {
  std::string url;    // --url, else MILLRACE_URL, else <data>/listen where --data or MILLRACE_DATA is given
  std::string data;   // --data, else MILLRACE_DATA, else kDefaultData: where the token lies
  bool json = false;  // -o json
};

void add_commands(CLI::App& app, Globals& globals, int& exit_code);

// Adds --url, --data and -o to one command.
void add_client_options(CLI::App& command, Globals& globals);

// Parses, and with that runs. A usage error is one message on stderr and kUsage; else what the command left in
// `exit_code`, which must be the one given to add_commands().
[[nodiscard]] int parse_and_run(CLI::App& app, int argc, const char* const* argv, const int& exit_code);

// `millrace check FILE...`: reads the files and asks the server whether it would take them. Prints; an exit code.
[[nodiscard]] int check_files(const Globals& globals, const std::vector<std::string>& files);

}  // namespace millrace::cli
