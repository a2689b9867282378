// The keeper of one container that an OCI runtime makes: a process of its own for each run, which puts the bundle
// together, calls the runtime, waits for the container's end and lets the runtime delete it.
//
// It is pid 1 of a pid namespace, and everything it mounts lies in a mount namespace of its own: bundle, state of the
// runtime, root file system, inputs and output. So its end, whoever brings it about, is the end of every process of the
// run, and nothing is left on the host but control groups. It ends with the launcher.
//
//   keeper -> launcher  Started with a pidfd of the container's first process, then Exited; or SpawnFailed and the end
//   launcher -> keeper  Kill{term}: ask the function to end. Drop: its figures have been read; the container is
//   deleted,
//                       and the keeper ends with status 0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/fd.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/protocol.h"
#include "runtime/launcher/template_process.h"

namespace millrace::launcher {

struct OciKeeperPlan {
  const LauncherOptions& options;
  const Prepare& prepare;
  const TemplateResources& resources;
  const OciRuntime& runtime;
  Spawn request;
  std::vector<Fd> descriptors;  // of the request; inputs and output are detached mounts
  Fd socket;
  std::vector<int> tasks;  // of the run's group: v1 files,
  int born_into = -1;      // and the directory of v2
  // The group as the runtime is told of it; empty: it leaves groups alone, and is started in the run's as a whole.
  std::string control_group;
  bool hybrid = false;  // beside v1 there is a v2 hierarchy, which runtimes do not know how to use
  Limits held;          // those that the host's groups can hold
};

// The process from its clone to its end; never returns.
[[noreturn]] void oci_keeper_main(OciKeeperPlan plan);

}  // namespace millrace::launcher
