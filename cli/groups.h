// How the groups of commands join the parser: each in a file of its own, added by add_commands().
//
//   auto [put, options] = add_command(commands, "put", "Stores files", put_files);
//   put.add_option("FILES", options->files, "...")->required();
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "cli/commands.h"
#include "cli/context.h"
#include "core/error.h"

namespace millrace::cli {

struct Commands {
  CLI::App& app;
  Globals& globals;
  // Shared by the callbacks that the parser keeps, which are copied and so cannot own it alone.
  std::shared_ptr<Context> context;
};

// A command with the options that all have. `run` gives the exit code, or the error that finish() explains.
CLI::App& add_command(Commands& commands, const std::string& name, const std::string& help,
                      std::function<Result<int>()> run);

// The same, and the options of its own that `run` is called with, which live as long as the parser.
template <class Options>
std::pair<CLI::App&, std::shared_ptr<Options>> add_command(Commands& commands, const std::string& name,
                                                           const std::string& help,
                                                           Result<int> (*run)(Context&, const Options&)) {
  auto options = std::make_shared<Options>();
  CLI::App& command =
      add_command(commands, name, help, [context = commands.context, options, run] { return run(*context, *options); });
  return {command, std::move(options)};
}

void add_function_commands(Commands& commands);  // apply, rm
void add_list_command(Commands& commands);       // ls
void add_invoke_commands(Commands& commands);    // run
void add_publish_command(Commands& commands);
void add_object_commands(Commands& commands);  // put, get
void add_run_commands(Commands& commands);     // runs, logs, cancel
void add_wait_command(Commands& commands);
void add_why_command(Commands& commands);
void add_topic_commands(Commands& commands);  // topics, redrive
void add_purge_command(Commands& commands);
void add_replay_command(Commands& commands);
void add_stats_command(Commands& commands);
void add_top_command(Commands& commands);
void add_nodes_command(Commands& commands);

}  // namespace millrace::cli
