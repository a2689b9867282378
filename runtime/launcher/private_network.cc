#include "runtime/launcher/private_network.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

// 198.18.0.0/15 is set aside for measuring networks, and so is neither on the Internet nor likely in anybody's own.
constexpr Ipv4Range kOwnRange{.address = 0xc612'0000, .bits = 15};
constexpr std::uint32_t kTapAddress = 0xc612'0064;  // 198.18.0.100
constexpr std::uint32_t kWayOut = 0xc612'0002;      // 198.18.0.2
constexpr Ipv4Range kResolver{.address = 0xc612'0003, .bits = 32};
constexpr std::uint32_t kFirstPair = 0xc612'8000;  // 198.18.128.0: two addresses for each sandbox
constexpr int kFirstPairIndex = 1000;              // of the router's interfaces
constexpr int kSandboxIndex = 2;                   // of eth0, beside loopback
constexpr std::uint32_t kMainTable = RT_TABLE_MAIN;
constexpr std::uint32_t kPolicyTable = 100;
constexpr std::uint32_t kLast = 0xffff'ffff;  // the metric of what counts where nothing else does

// "This" network, loopback, link-local with the metadata of clouds, other sandboxes and ourselves, multicast, reserved
// with broadcast.
constexpr std::array kNeverReached{
    Ipv4Range{.address = 0x0000'0000, .bits = 8},  Ipv4Range{.address = 0x7f00'0000, .bits = 8},
    Ipv4Range{.address = 0xa9fe'0000, .bits = 16}, kOwnRange,
    Ipv4Range{.address = 0xe000'0000, .bits = 4},  Ipv4Range{.address = 0xf000'0000, .bits = 4}};

ControlState missing(std::string reason) {
  return {.support = Support::missing, .reason = std::move(reason)};
}

Result<void> done(bool good, const char* what) {
  if (good) return {};
  return fail(error_from_errno(errno, what));
}

bool set(const char* file, const char* value) {
  return write_file(AT_FDCWD, file, value);
}

// Interfaces that come later have no IPv6. Where the kernel has none at all, there is no such file.
bool without_ipv6() {
  return set("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1") || errno == ENOENT;
}

bool is_allowed(const LauncherOptions& options, const Ipv4Range& range) {
  return std::ranges::any_of(options.network_allow, [&](const Ipv4Range& allowed) { return allowed.contains(range); });
}

}  // namespace

std::string private_resolv_conf(std::string_view of_host) {
  std::string text = "nameserver " + std::string(kPrivateResolver) + "\n";
  while (!of_host.empty()) {
    const auto line = of_host.substr(0, of_host.find('\n'));
    of_host.remove_prefix(std::min(line.size() + 1, of_host.size()));
    for (const std::string_view kept : {"search ", "domain ", "options "}) {
      if (line.starts_with(kept)) text += std::string(line) + "\n";
    }
  }
  return text;
}

std::vector<Ipv4Range> refused_ranges(const LauncherOptions& options) {
  std::vector<Ipv4Range> refused;
  for (const Ipv4Range& range : kNeverReached) {
    if (range == kOwnRange || !is_allowed(options, range)) refused.push_back(range);
  }
  for (const Ipv4Range& range : options.network_deny) {
    if (std::ranges::find(refused, range) == refused.end() && !is_allowed(options, range)) refused.push_back(range);
  }
  return refused;
}

PrivateNetworks::PrivateNetworks(const LauncherOptions& options, const HostRights& rights, const ChildStack& stack)
    : options_(options), rights_(rights), stack_(stack) {
  if (!rights.containers()) {
    state_ = missing(rights.lack);
    return;
  }
  if (::access(kNetworkHelper, X_OK) != 0) {
    state_ = missing(std::string("there is no ") + kNetworkHelper + "; install the package slirp4netns");
    return;
  }
  const auto built = build();
  state_ = built ? ControlState{.support = Support::real, .reason = {}} : missing(built.error().message);
  if (!built) news_.reset();
}

PrivateNetworks::~PrivateNetworks() {
  if (!helper_) return;
  signal_process(helper_->process.get(), SIGKILL);
  ::waitpid(helper_->pid, nullptr, 0);
}

// ---- the router

Result<void> PrivateNetworks::build() {
  auto router = make_owned_network(options_.daemon_uid, options_.daemon_gid);
  if (!router) return fail(router.error());
  router_ = std::move(*router);
  // First told, then asked: what changes in between is asked again.
  auto news = RouteSocket::open(RTMGRP_IPV4_IFADDR);
  auto host = RouteSocket::open();
  if (!news) return fail(news.error());
  if (!host) return fail(host.error());
  news_ = std::move(*news);
  host_ = std::move(*host);
  Result<void> built;
  if (!work_in_network(router_.network.get(), stack_, [&] { built = build_inside(); })) {
    return fail(error_from_errno(errno, "enter the router's network namespace"));
  }
  if (!built) return built;
  if (auto routes = set_routes(); !routes) return routes;
  return refuse_own_addresses();
}

Result<void> PrivateNetworks::build_inside() {
  // Every refusal is told, not one a second. Strict reverse paths: what claims another sandbox's address is dropped.
  // Not of the tap device, at which answers arrive from addresses that sandboxes may not speak to.
  const bool settled =
      without_ipv6() && set("/proc/sys/net/ipv4/ip_forward", "1") && set("/proc/sys/net/ipv4/icmp_ratelimit", "0") &&
      set("/proc/sys/net/ipv4/conf/all/rp_filter", "0") && set("/proc/sys/net/ipv4/conf/default/rp_filter", "1") &&
      set("/proc/sys/net/ipv4/conf/all/send_redirects", "0") &&
      set("/proc/sys/net/ipv4/conf/default/send_redirects", "0") && raise_loopback();
  if (!settled) return fail(error_from_errno(errno, "set up the router of private networks"));
  auto routes = RouteSocket::open();
  if (!routes) return fail(routes.error());
  routes_ = std::move(*routes);
  if (auto tap = make_tap(); !tap) return tap;
  // It answers for all sandboxes, and at once, when the helper asks who has their addresses.
  return done(set("/proc/sys/net/ipv4/conf/tap0/rp_filter", "0") &&
                  set("/proc/sys/net/ipv4/conf/tap0/proxy_arp", "1") &&
                  set("/proc/sys/net/ipv4/neigh/tap0/proxy_delay", "0"),
              "let the router answer for the sandboxes");
}

Result<void> PrivateNetworks::make_tap() {
  const Fd device(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (!device)
    return fail(error_from_errno(errno, "open /dev/net/tun (modprobe tun makes it; chmod 0666 opens it to users)"));
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  std::strncpy(request.ifr_name, kTapName, sizeof(request.ifr_name) - 1);
  // It stays when the helper goes, and with it the routes.
  if (::ioctl(device.get(), TUNSETIFF, &request) < 0 || ::ioctl(device.get(), TUNSETPERSIST, 1) < 0) {
    return fail(error_from_errno(errno, "make a tap device"));
  }
  tap_index_ = interface_index(kTapName);
  return {};
}

Result<void> PrivateNetworks::set_routes() {
  RouteSocket& routes = *routes_;
  bool set = routes.raise(tap_index_, kPrivateMtu) && routes.add_address(tap_index_, kTapAddress, 24);
  // The main table knows the sandboxes and serves answers, and the check of reverse paths. What comes from sandboxes
  // meets the policy first; and where that said nothing, there would be no route to anybody in the main table but to
  // other sandboxes, which the policy refuses.
  set = set && routes.add_rule(10, "lo", kMainTable) && routes.add_rule(11, kTapName, kMainTable) &&
        routes.add_rule(12, "", kPolicyTable);
  set =
      set &&
      routes.add_route(
          {.to = {.address = 0, .bits = 0}, .kind = RouteKind::unreachable, .table = kPolicyTable, .metric = kLast}) &&
      routes.add_route({.to = kResolver, .table = kPolicyTable, .interface = tap_index_}) &&
      routes.add_route(
          {.to = {.address = 0, .bits = 0}, .table = kMainTable, .interface = tap_index_, .gateway = kWayOut}) &&
      routes.add_route(
          {.to = {.address = 0, .bits = 0}, .table = kPolicyTable, .interface = tap_index_, .gateway = kWayOut});
  for (const Ipv4Range& range : refused_ranges(options_)) {
    set = set && routes.add_route({.to = range, .kind = RouteKind::prohibit, .table = kPolicyTable});
  }
  for (const Ipv4Range& range : options_.network_allow) {
    // One that is refused and allowed in the same words was left out there.
    set = set && (range.bits == 0 ||
                  routes.add_route({.to = range, .table = kPolicyTable, .interface = tap_index_, .gateway = kWayOut}) ||
                  errno == EEXIST);
  }
  return done(set, "set the routes of private networks");
}

bool PrivateNetworks::may_reach(std::uint32_t address) const {
  return is_allowed(options_, {.address = address, .bits = 32});
}

Result<void> PrivateNetworks::refuse_own_addresses() {
  const auto found = host_->addresses();
  if (!found) return fail(error_from_errno(errno, "ask for the addresses of this machine"));
  if (found->size() > kHostAddressesMax) {
    return fail(Errc::resource_exhausted, "this machine has more than " + std::to_string(kHostAddressesMax) +
                                              " addresses, which cannot all be kept from functions");
  }
  std::set<std::uint32_t> wanted;
  for (const std::uint32_t address : *found) {
    if (!may_reach(address)) wanted.insert(address);
  }
  const auto refusal = [](std::uint32_t address) {
    return Route{.to = {.address = address, .bits = 32}, .kind = RouteKind::prohibit, .table = kPolicyTable};
  };
  for (const std::uint32_t address : wanted) {
    if (refused_addresses_.contains(address)) continue;
    if (!routes_->add_route(refusal(address)) && errno != EEXIST) {
      return fail(error_from_errno(errno, "keep an address of this machine from functions"));
    }
  }
  for (const std::uint32_t address : refused_addresses_) {
    if (!wanted.contains(address)) routes_->remove_route(refusal(address));
  }
  refused_addresses_ = std::move(wanted);
  return {};
}

void PrivateNetworks::take_address_news() {
  if (!news_ || !news_->discard_news()) return;
  if (refuse_own_addresses()) return;
  // What cannot be kept from functions ends their network.
  state_ = missing("addresses of this machine could not be kept from functions");
  if (helper_) signal_process(helper_->process.get(), SIGKILL);
}

// ---- the helper

Result<void> PrivateNetworks::begin_helper() {
  helper_started_us_ = monotonic_us();
  auto started = start_network_helper({.user_namespace = router_.user.get(),
                                       .network_namespace = router_.network.get(),
                                       .uid = options_.daemon_uid,
                                       .gid = options_.daemon_gid,
                                       .one_id = rights_.one_id()});
  if (!started) return fail(started.error());
  helper_ = std::move(*started);
  return {};
}

Result<void> PrivateNetworks::start_helper() {
  if (state_.support != Support::real) return fail(Errc::failed_precondition, state_.reason);
  if (helper_) return {};
  if (auto begun = begin_helper(); !begun) return begun;
  pollfd waiting{.fd = helper_->ready.get(), .events = POLLIN, .revents = 0};
  char said = 0;
  if (::poll(&waiting, 1, kHelperWaitMs) == 1 && ::read(helper_->ready.get(), &said, 1) == 1) return {};
  signal_process(helper_->process.get(), SIGKILL);
  return fail(Errc::unavailable, std::string(kNetworkHelper) + " does not start");
}

bool PrivateNetworks::reaped(pid_t pid) {
  if (!helper_ || helper_->pid != pid) return false;
  helper_.reset();
  // One that ends at once is started again by the next function that needs it.
  const bool soon = monotonic_us() - helper_started_us_ < kHelperRestartUs;
  if (!soon && state_.support == Support::real) static_cast<void>(begin_helper());
  return true;
}

// ---- networks of sandboxes

Result<PrivateNetwork> PrivateNetworks::make(int user_namespace) {
  if (state_.support != Support::real) return fail(Errc::failed_precondition, state_.reason);
  PrivateNetwork network;
  if (free_slots_.empty()) {
    if (next_slot_ >= kPrivateNetworksMax) return fail(Errc::resource_exhausted, "too many private networks");
    network.slot = next_slot_++;
  } else {
    network.slot = free_slots_.back();
    free_slots_.pop_back();
  }
  auto made = make_network_namespace(user_namespace);
  if (made) network.descriptor = std::move(*made);
  auto plugged = made ? plug(network) : Result<void>(fail(made.error()));
  if (plugged) return network;
  discard(std::move(network));
  return fail(plugged.error());
}

Result<void> PrivateNetworks::plug(PrivateNetwork& network) {
  std::optional<RouteSocket> inside;
  Result<void> prepared;
  const auto prepare = [&] {
    if (!raise_loopback() || !without_ipv6()) {
      prepared = fail(error_from_errno(errno, "set up a sandbox's network namespace"));
      return;
    }
    auto opened = RouteSocket::open();
    if (!opened) {
      prepared = fail(opened.error());
      return;
    }
    inside = std::move(*opened);
    network.tables = NetworkTables::open();
  };
  if (!work_in_network(network.descriptor.get(), stack_, prepare)) {
    return fail(error_from_errno(errno, "enter a sandbox's network namespace"));
  }
  if (!prepared) return prepared;
  const int index = kFirstPairIndex + static_cast<int>(network.slot);
  const std::uint32_t here = kFirstPair + 2 * network.slot;
  const bool plugged =
      routes_->add_pair({.name = "v" + std::to_string(network.slot), .index = index},
                        {.name = "eth0", .index = kSandboxIndex}, network.descriptor.get(), kPrivateMtu) &&
      routes_->add_address(index, here, 31) && routes_->raise(index) &&
      inside->add_address(kSandboxIndex, here + 1, 31) && inside->raise(kSandboxIndex) &&
      inside->add_route({.to = {.address = 0, .bits = 0}, .interface = kSandboxIndex, .gateway = here});
  return done(plugged, "join a sandbox's network with the router");
}

void PrivateNetworks::discard(PrivateNetwork network) {
  // Now, and not when the kernel gets to clean the namespace up: the next of this number has the same names. There is
  // none if making it failed.
  routes_->remove_interface(kFirstPairIndex + static_cast<int>(network.slot));
  free_slots_.push_back(network.slot);
}

}  // namespace millrace::launcher
