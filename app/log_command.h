// `millrace log`: looks into the embedded log of a server that is not running.
#pragma once

#include "cli/commands.h"

namespace millrace {

// Adds `log inspect` and `log verify`. Both must stay where they are until the parse is over.
void add_log_commands(CLI::App& app, cli::Globals& globals, int& exit_code);

}  // namespace millrace
