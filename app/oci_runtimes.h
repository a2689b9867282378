// The launcher's table of OCI runtimes.
#pragma once

#include <string>
#include <vector>

#include "app/config.h"

namespace millrace {

// "--runtime=NAME=PROGRAM ARGUMENT..." for each of the configuration, or for runc and crun where they are installed.
[[nodiscard]] std::vector<std::string> oci_runtime_flags(const Config& config);

}  // namespace millrace
