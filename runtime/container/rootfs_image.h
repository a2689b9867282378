// Images that are directories of this machine (`image: rootfs:/path`), as the daemon sees them: whether they are what
// they should be, and the descriptor that proves to the launcher that the daemon may read them. All of it blocks: for a
// thread of a pool.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "core/fd.h"
#include "core/function_spec.h"

namespace millrace::container {

[[nodiscard]] bool is_rootfs(const FunctionSpec& function);

// The image's directory. not_found, permission_denied or invalid_argument, naming the path.
[[nodiscard]] Result<Fd> open_rootfs(const FunctionSpec& function);

// At apply: the directory can be read, lies beneath one of `allowed` (where links on the way really lead), has real
// directories or nothing where a sandbox has its own, and holds the script's interpreter. Nothing is followed out of
// the image. The launcher checks the same again when it builds a template, since a directory may change.
[[nodiscard]] Result<void> check_rootfs(const FunctionSpec& function, const std::vector<std::string>& allowed);

}  // namespace millrace::container
