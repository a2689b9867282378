// `millrace check`: tries what this host can do and says what is missing and how to enable it.
#pragma once

#include <string>
#include <vector>

#include "app/config.h"
#include "core/error.h"
#include "runtime/executor.h"

namespace millrace {

// One line per thing tried. Starts a launcher of its own for what needs one, and leaves nothing behind.
[[nodiscard]] std::vector<Control> check_host(const Config& config);

// `failed_precondition`, with the remedy, for a directory of the option image_directories that is a link, or lies
// behind one: what may run is decided by where it really lies. One that does not exist is fine.
[[nodiscard]] Result<void> check_image_directory(const std::string& directory);

// What the file system below `directory` can do for outputs: attributes, exchanging names, reflinks, free space.
[[nodiscard]] std::vector<Control> check_file_system(const std::string& directory);

}  // namespace millrace
