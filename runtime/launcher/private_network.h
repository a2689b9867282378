// Networks of functions that may speak to the outside (`network: private`), and to nobody else.
//
//   sandbox (eth0) --pair-- router (a network namespace of ours) --tap0-- slirp4netns --sockets-- the host's network
//
// The router is the only way out of every sandbox. It belongs to the daemon's user, so that the helper needs no right
// of root, and its routes are the policy: what comes from a sandbox is looked up in a table of its own, in which the
// addresses of this machine, link-local ones (of cloud metadata among them), other sandboxes and whatever an option
// names are prohibited; the sender is told so at once. IPv4 only: where IPv6 is not, no address of it needs guarding.
// Nothing of all this is visible in the host's own network, and all of it vanishes with the launcher's descriptors.
//
//   PrivateNetworks networks(options, rights, stack);
//   if (networks.state().support == Support::real) { auto network = networks.make(user_namespace); ... }
//   networks.discard(std::move(*network));
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/fd.h"
#include "runtime/launcher/host_rights.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/namespaces.h"
#include "runtime/launcher/network_helper.h"
#include "runtime/launcher/protocol.h"
#include "runtime/launcher/route_socket.h"
#include "runtime/launcher/vm_clone.h"

namespace millrace::launcher {

inline constexpr std::string_view kPrivateResolver = "198.18.0.3";
inline constexpr std::uint32_t kPrivateNetworksMax = kRunsMax + 1024;  // in use and idle
inline constexpr std::uint32_t kPrivateNetworkUsesMax = 1000;
inline constexpr std::size_t kIdlePrivateNetworksMax = 16;  // of one function
inline constexpr std::size_t kHostAddressesMax = 1024;

// The network of one sandbox; of one function revision only, one run after another.
struct PrivateNetwork {
  Fd descriptor;
  NetworkTables tables;
  std::uint32_t slot = 0;
  std::uint32_t uses = 0;
};

// /etc/resolv.conf of a sandbox: our resolver, with the search list and options that the host's has.
[[nodiscard]] std::string private_resolv_conf(std::string_view of_host);

// What functions must not reach, beside this machine's own addresses. A range within one of `allowed` is left out;
// an allowed one within a refused one is more exact, and so wins.
[[nodiscard]] std::vector<Ipv4Range> refused_ranges(const LauncherOptions& options);

class PrivateNetworks {
 public:
  // `stack`: for children that visit networks.
  PrivateNetworks(const LauncherOptions& options, const HostRights& rights, const ChildStack& stack);
  PrivateNetworks(const PrivateNetworks&) = delete;
  PrivateNetworks& operator=(const PrivateNetworks&) = delete;
  ~PrivateNetworks();

  // Found by building the router; missing also without the helper's program.
  [[nodiscard]] ControlState state() const { return state_; }

  // The helper runs; waits for the first one, at most kHelperWaitMs.
  [[nodiscard]] Result<void> start_helper();
  [[nodiscard]] bool is_helper(pid_t pid) const { return helper_ && helper_->pid == pid; }
  // A child of the launcher was reaped; false: not the helper.
  [[nodiscard]] bool reaped(pid_t pid);

  [[nodiscard]] Result<PrivateNetwork> make(int user_namespace);
  void discard(PrivateNetwork network);
  [[nodiscard]] std::size_t size() const { return next_slot_ - free_slots_.size(); }

  // Readable when addresses of this machine have changed; -1 without a router.
  [[nodiscard]] int address_news() const { return news_ ? news_->descriptor() : -1; }
  void take_address_news();

 private:
  [[nodiscard]] Result<void> build();
  [[nodiscard]] Result<void> build_inside();
  [[nodiscard]] Result<void> make_tap();
  [[nodiscard]] Result<void> set_routes();
  [[nodiscard]] Result<void> refuse_own_addresses();
  [[nodiscard]] Result<void> plug(PrivateNetwork& network);
  [[nodiscard]] bool may_reach(std::uint32_t address) const;
  [[nodiscard]] Result<void> begin_helper();

  const LauncherOptions& options_;
  const HostRights& rights_;
  const ChildStack& stack_;
  ControlState state_;
  OwnedNetwork router_;
  int tap_index_ = 0;
  std::optional<RouteSocket> routes_;  // of the router
  std::optional<RouteSocket> host_;    // of the host, to ask
  std::optional<RouteSocket> news_;    // of the host, to be told
  std::set<std::uint32_t> refused_addresses_;
  std::optional<NetworkHelper> helper_;
  std::uint64_t helper_started_us_ = 0;
  std::uint32_t next_slot_ = 0;
  std::vector<std::uint32_t> free_slots_;
};

inline constexpr int kHelperWaitMs = 5000;
inline constexpr std::uint64_t kHelperRestartUs = 1'000'000;  // the least between two starts

}  // namespace millrace::launcher
