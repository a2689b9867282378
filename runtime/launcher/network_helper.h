// The program that carries what functions with a private network say to the outside, and the answers back: slirp4netns,
// which turns the packets of a tap device into ordinary sockets of its own. So the host's network is what the host says
// it is: no address of it changes, nothing is forwarded, its firewall and its resolver decide as for any program.
//
// It runs as the daemon's user, without a capability, in a root of its own that shows programs, libraries and
// configuration read-only, and dies with the launcher.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::launcher {

// The one program there is; never by PATH.
inline constexpr const char* kNetworkHelper = "/usr/bin/slirp4netns";

// What it is told: its own addresses within the network of the tap device are .2 (the way out) and .3 (the resolver).
inline constexpr const char* kHelperNetwork = "198.18.0.0/24";
inline constexpr const char* kTapName = "tap0";
inline constexpr std::uint32_t kPrivateMtu = 65520;  // of every link: fewer, larger packets for a program to carry

struct NetworkHelper {
  pid_t pid = -1;
  Fd process;  // pidfd
  Fd ready;    // readable when it carries packets, or has ended
  Fd life;     // closed: it ends
};

struct NetworkHelperPlan {
  int user_namespace = -1;  // of the router, owned by the daemon's user
  int network_namespace = -1;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool one_id = false;  // these are the launcher's own, without root
};

[[nodiscard]] Result<NetworkHelper> start_network_helper(const NetworkHelperPlan& plan);

}  // namespace millrace::launcher
