// What the daemon passes for a run's inputs and output: believed only as far as an open descriptor proves.
#pragma once

#include <vector>

#include "core/fd.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/protocol.h"
#include "runtime/launcher/spawn.h"
#include "runtime/launcher/template_process.h"

namespace millrace::launcher {

// A file or directory of the daemon's, found again by its path, without access to it: a descriptor means a mount of the
// daemon's mount namespace, and one that lives in another can make something only of its own. Invalid with errno,
// ENOENT if something else lies there by now.
[[nodiscard]] Fd find_here(int fd);

// Turns the descriptors of inputs and output, which stand last in the request's order, into detached mounts with the
// owners that the run sees; inputs to be copied stay what they are. `error` 0: done.
[[nodiscard]] SpawnError take_files(const LauncherOptions& options, const TemplateResources& resources,
                                    const Spawn& request, std::vector<Fd>& descriptors);

}  // namespace millrace::launcher
