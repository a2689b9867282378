// The launcher's arguments, written by the supervisor, and how they are read:
//
//   millrace-launcher --prefix=millrace-1a2b3c4d --daemon-uid=998 --daemon-gid=998 [--show=DIR]... [--hide=PATH]...
//                      [--images=DIR]... [--runtime='NAME=PROGRAM ARGUMENT...']...
//                      [--network-allow=RANGE]... [--network-deny=RANGE]...
//
// Descriptors 3 (daemon) and 4 (life line) must be open; protocol.h tells the rest of the conversation.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "runtime/launcher/route_socket.h"

namespace millrace::launcher {

inline constexpr int kDaemonSocket = 3;
inline constexpr int kLifeLine = 4;

// An OCI runtime as it is called. Its arguments are of the kind that stand before the command, and hold no blanks.
struct OciRuntime {
  std::string name;
  std::vector<std::string> command;  // an absolute path, then arguments
};

struct LauncherOptions {
  std::string prefix;            // of every cgroup it makes, and of those it sweeps: [a-zA-Z0-9_-], 1 to 64 characters,
                                 // one per data directory so that several daemons on one host do not meet
  std::uint32_t daemon_uid = 0;  // the user of the daemon and of runs of the kind `process`
  std::uint32_t daemon_gid = 0;
  std::vector<std::string> show;  // more host directories that `image: host` shows, read-only; not below /tmp, /dev,
                                  // /proc and /run, which are the container's own
  std::vector<std::string> hide;  // paths below /usr, /etc, /opt that it hides
  // Directories beneath which images may lie. The daemon cannot choose others: an image is shown to a function with the
  // owners that its files have, so that `/` as an image would let the daemon read what only root may.
  std::vector<std::string> images;
  // Of private networks: what may be reached although it is an address of this machine, link-local or denied; and what
  // may not.
  std::vector<Ipv4Range> network_allow;
  std::vector<Ipv4Range> network_deny;
  std::vector<OciRuntime> runtimes;  // the only programs that the launcher starts besides functions
};

// invalid_argument naming the argument that is unknown, missing or malformed.
[[nodiscard]] Result<LauncherOptions> parse_launcher_options(std::span<const char* const> arguments);

}  // namespace millrace::launcher
