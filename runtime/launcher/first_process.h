// A child that is pid 1 of a pid namespace of its own, in the group of templates, with a socket to it: whoever kills it
// ends everything that it starts. A template, or the keeper of a container that a runtime makes.
//
//   auto child = start_first_process(groups.templates_group());
//   if (child.pid == 0) template_main(..., std::move(child.socket));   // in the child
//   if (child.pid < 0) ...                                             // child.error says why
//
// The launcher has one thread, so the child may go on in C++.
#pragma once

#include <sys/types.h>

#include "core/fd.h"

namespace millrace::launcher {

struct FirstProcess {
  pid_t pid = -1;
  int error = 0;
  Fd process;  // pidfd; not in the child
  Fd socket;   // SEQPACKET, each side's own end
};

// `group`: an open directory of control groups of version 2, or -1.
[[nodiscard]] FirstProcess start_first_process(int group);

}  // namespace millrace::launcher
