// libuv writes with write(2) and sendfile(2), which raise SIGPIPE when a peer has left, and a process that did not
// prepare for it dies. Threads of ours that talk to peers block it and see EPIPE.
#pragma once

#include <pthread.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigset_t's functions are POSIX

namespace millrace {

inline void block_sigpipe() {
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
}

}  // namespace millrace
