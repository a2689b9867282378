// `millrace serve`: becomes the supervisor of a launcher and a daemon.
#pragma once

#include <map>
#include <string>

#include "app/config.h"

namespace millrace {

// `values`: every option that is not at its default, for the daemon's own command line. The process's exit status.
[[nodiscard]] int serve(const Config& config, const std::map<std::string, std::string>& values);

}  // namespace millrace
