// The places on disk of the executor `process`: a script per function revision, and a private directory per run. All of
// it blocks: for a thread of a pool, or for start-up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "runtime/executor.h"

namespace millrace::process {

// Removes a directory and what is in it; what a function made unreadable is made readable first, links are never
// followed. A directory that does not exist is fine.
[[nodiscard]] Result<void> remove_tree(const std::string& path);

// Makes `directory`/script.sh with this content, mode 0500, complete or not at all.
[[nodiscard]] Result<void> write_script(const std::string& directory, const std::string& script);

// An input as it appears to the function: a link to where it really is, or a copy of what has no name on this machine.
struct ScratchInput {
  std::string name;
  std::string host_path;  // empty: copied from `fd`
  int fd = -1;
};

// Makes `directory` (mode 0700) with `in/` holding the inputs and `out/` for functions without outputs.
[[nodiscard]] Result<void> make_scratch(const std::string& directory, const std::vector<ScratchInput>& inputs);

}  // namespace millrace::process
