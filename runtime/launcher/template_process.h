// A template: one process per function revision that holds everything its runs share (user namespace, root file system,
// /dev, system call filter) and makes sandboxes by cloning with shared memory. It talks to the launcher over a
// SEQPACKET socket with the messages of protocol.h:
//   launcher -> template  Spawn, with the descriptors of the request (inputs and output as detached mounts), then the
//                         network namespace of a private network, the group's `tasks` files and its v2 directory;
//                         Kill, for a run that still copies its inputs and has no group;
//                         MakeSpare, with the same but for a request's own. The next Spawn that may_use_spare() and has
//                         the same limits is begun in it, and comes with the same descriptors again: they serve where
//                         the spare has died. EndSpare, for one that is not wanted any more
//   template -> launcher  Prepared once, or PrepareFailed and the end; Started with the run's pidfd, of one that
//                         began in a spare up to a millisecond later; SpawnFailed, Exited; SpareGone
// It has no way to cgroupfs, the daemon's files or other images: a fault in it costs one function.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <span>
#include <string>

#include "core/fd.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

struct TemplateResources {
  std::uint32_t slot = 0;  // of host ids
  Fd user_namespace;
  Fd idmap_namespace;  // maps the daemon's id to the run's; invalid with FileAccess::daemon_uid
  FileAccess files = FileAccess::idmapped;
  std::uint32_t run_id = 0;   // host id of the run's user
  std::uint32_t root_id = 0;  // host id of id 0 of the user namespace
  bool one_id = false;        // all of these are the launcher's own, and the user namespace maps no other
  std::string script_bytes;
  Fd image;     // the directory of the image, if it is one
  Fd provided;  // secrets and files, packed, if there are any
};

struct TemplatePlan {
  const LauncherOptions& options;
  const Prepare& request;
  const TemplateResources& resources;
  std::span<const sock_filter> outer_filter;  // the template's own, too
  std::span<const sock_filter> inner_filter;  // of its sandboxes
  bool into_group = false;                    // sandboxes are born into a v2 group
  Fd socket;
};

// The process from its clone to its end; never returns.
[[noreturn]] void template_main(TemplatePlan plan);

}  // namespace millrace::launcher
