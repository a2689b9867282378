#include "runtime/launcher/route_socket.h"

#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

namespace millrace::launcher {
namespace {

constexpr std::size_t kAnswerBytes = 16 * 1024;
constexpr std::size_t kNewsPerCall = 64;  // more are read in the next turn

std::uint32_t network_order(std::uint32_t address) {
  return __builtin_bswap32(address);
}

// A request as the kernel reads it: a header, a fixed part, attributes; everything at multiples of four bytes.
class Message {
 public:
  template <class Fixed>
  Message(std::uint16_t type, std::uint16_t flags, const Fixed& fixed) {
    const nlmsghdr header{.nlmsg_len = 0, .nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = 0, .nlmsg_pid = 0};
    append(header);
    append(fixed);
  }

  template <class Plain>
  Message& add(std::uint16_t type, const Plain& value) {
    return add_bytes(type, {reinterpret_cast<const char*>(&value), sizeof(value)});
  }
  Message& add_text(std::uint16_t type, const std::string& text) {
    return add_bytes(type, {text.c_str(), text.size() + 1});
  }
  Message& add_bytes(std::uint16_t type, std::string_view value) {
    const auto at = begin(type);
    bytes_ += value;
    return end(at);
  }

  // Attributes within an attribute: everything between begin() and end().
  std::size_t begin(std::uint16_t type) {
    const auto at = bytes_.size();
    append(rtattr{.rta_len = 0, .rta_type = type});
    return at;
  }
  template <class Fixed>
  Message& append(const Fixed& fixed) {
    bytes_.append(reinterpret_cast<const char*>(&fixed), sizeof(fixed));
    pad();
    return *this;
  }
  Message& end(std::size_t at) {
    const auto size = static_cast<std::uint16_t>(bytes_.size() - at);
    std::memcpy(bytes_.data() + at + offsetof(rtattr, rta_len), &size, sizeof(size));
    pad();
    return *this;
  }

  std::string take() {
    const auto size = static_cast<std::uint32_t>(bytes_.size());
    std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &size, sizeof(size));
    return std::move(bytes_);
  }

 private:
  void pad() { bytes_.resize((bytes_.size() + 3) & ~std::size_t{3}); }

  std::string bytes_;
};

constexpr std::uint16_t kRequest = NLM_F_REQUEST | NLM_F_ACK;
constexpr std::uint16_t kCreate = kRequest | NLM_F_CREATE | NLM_F_EXCL;

ifinfomsg interface_header(int index) {
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  return header;
}

// Calls `take` with each message of what was received.
template <class Take>
void for_each_message(std::span<const char> bytes, Take take) {
  while (bytes.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header{};
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > bytes.size()) return;
    take(header, bytes.subspan(sizeof(header), header.nlmsg_len - sizeof(header)));
    bytes = bytes.subspan(std::min<std::size_t>((header.nlmsg_len + 3U) & ~3U, bytes.size()));
  }
}

// The error number that an answer of the kernel carries; 0: it agreed.
int error_in(std::span<const char> body) {
  nlmsgerr error{};
  if (body.size() < sizeof(error.error)) return EBADMSG;
  std::memcpy(&error.error, body.data(), sizeof(error.error));
  return -error.error;
}

void take_address(std::span<const char> body, std::vector<std::uint32_t>& into) {
  if (body.size() < sizeof(ifaddrmsg)) return;
  body = body.subspan(sizeof(ifaddrmsg));
  while (body.size() >= sizeof(rtattr)) {
    rtattr attribute{};
    std::memcpy(&attribute, body.data(), sizeof(attribute));
    if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > body.size()) return;
    std::uint32_t address = 0;
    // IFA_LOCAL is our own; IFA_ADDRESS may be that of the other end of a line.
    if (attribute.rta_type == IFA_LOCAL && attribute.rta_len == sizeof(attribute) + sizeof(address)) {
      std::memcpy(&address, body.data() + sizeof(attribute), sizeof(address));
      into.push_back(network_order(address));
    }
    body = body.subspan(std::min<std::size_t>((attribute.rta_len + 3U) & ~3U, body.size()));
  }
}

std::uint8_t type_of(RouteKind kind) {
  switch (kind) {
    case RouteKind::forward: return RTN_UNICAST;
    case RouteKind::prohibit: return RTN_PROHIBIT;
    case RouteKind::unreachable: return RTN_UNREACHABLE;
  }
  return RTN_UNREACHABLE;
}

}  // namespace

std::optional<Ipv4Range> parse_ipv4_range(std::string_view text) {
  Ipv4Range range;
  const auto number = [&text](int most) -> std::optional<int> {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const auto length = static_cast<std::size_t>(end - text.data());
    if (error != std::errc{} || value < 0 || value > most || length > 3 || (length > 1 && text.front() == '0')) {
      return std::nullopt;
    }
    text.remove_prefix(length);
    return value;
  };
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && (text.empty() || text.front() != '.')) return std::nullopt;
    if (part > 0) text.remove_prefix(1);
    const auto value = number(255);
    if (!value) return std::nullopt;
    range.address = range.address << 8 | static_cast<std::uint32_t>(*value);
  }
  if (!text.empty()) {
    if (text.front() != '/') return std::nullopt;
    text.remove_prefix(1);
    const auto bits = number(32);
    if (!bits || !text.empty()) return std::nullopt;
    range.bits = *bits;
  }
  const std::uint64_t beyond = (std::uint64_t{1} << (32 - range.bits)) - 1;
  if ((range.address & beyond) != 0) return std::nullopt;
  return range;
}

std::string format_ipv4(std::uint32_t address) {
  return std::to_string(address >> 24) + "." + std::to_string(address >> 16 & 255) + "." +
         std::to_string(address >> 8 & 255) + "." + std::to_string(address & 255);
}

Result<RouteSocket> RouteSocket::open(std::uint32_t groups) {
  Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return fail(error_from_errno(errno, "open a routing socket"));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    return fail(error_from_errno(errno, "bind a routing socket"));
  }
  return RouteSocket(std::move(socket));
}

bool RouteSocket::discard_news() {
  std::array<char, kAnswerBytes> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): only what was read is used
  bool any = false;
  for (std::size_t i = 0; i < kNewsPerCall; ++i) {
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    // More came than the socket holds: that is news as well.
    if (got < 0 && errno != ENOBUFS) return any;
    any = true;
  }
  return any;
}

bool RouteSocket::ask(std::string request) {
  const std::uint32_t sequence = ++sequence_;
  std::memcpy(request.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof(sequence));
  if (::send(socket_.get(), request.data(), request.size(), 0) < 0) return false;
  std::array<char, kAnswerBytes> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): only what was read is used
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    std::optional<int> answer;
    for_each_message({buffer.data(), static_cast<std::size_t>(got)},
                     [&](const nlmsghdr& header, std::span<const char> body) {
                       if (header.nlmsg_seq == sequence && header.nlmsg_type == NLMSG_ERROR) answer = error_in(body);
                     });
    if (!answer) continue;
    errno = *answer;
    return *answer == 0;
  }
}

bool RouteSocket::add_pair(const PairEnd& here, const PairEnd& there, int namespace_there, std::uint32_t mtu) {
  Message message(RTM_NEWLINK, kCreate, interface_header(here.index));
  message.add_text(IFLA_IFNAME, here.name).add(IFLA_MTU, mtu);
  const auto info = message.begin(IFLA_LINKINFO);
  message.add_bytes(IFLA_INFO_KIND, "veth");
  const auto data = message.begin(IFLA_INFO_DATA);
  const auto peer = message.begin(VETH_INFO_PEER);
  message.append(interface_header(there.index));
  message.add_text(IFLA_IFNAME, there.name).add(IFLA_MTU, mtu).add(IFLA_NET_NS_FD, namespace_there);
  message.end(peer).end(data).end(info);
  return ask(message.take());
}

bool RouteSocket::remove_interface(int index) {
  return ask(Message(RTM_DELLINK, kRequest, interface_header(index)).take());
}

bool RouteSocket::raise(int index, std::uint32_t mtu) {
  ifinfomsg header = interface_header(index);
  header.ifi_flags = IFF_UP;
  header.ifi_change = IFF_UP;
  Message message(RTM_NEWLINK, kRequest, header);
  if (mtu != 0) message.add(IFLA_MTU, mtu);
  return ask(message.take());
}

bool RouteSocket::add_address(int index, std::uint32_t address, int bits) {
  ifaddrmsg header{};
  header.ifa_family = AF_INET;
  header.ifa_prefixlen = static_cast<std::uint8_t>(bits);
  header.ifa_index = static_cast<std::uint32_t>(index);
  const std::uint32_t value = network_order(address);
  return ask(Message(RTM_NEWADDR, kCreate, header).add(IFA_LOCAL, value).add(IFA_ADDRESS, value).take());
}

bool RouteSocket::change_route(const Route& route, std::uint16_t type, std::uint16_t flags) {
  rtmsg header{};
  header.rtm_family = AF_INET;
  header.rtm_dst_len = static_cast<std::uint8_t>(route.to.bits);
  header.rtm_table = RT_TABLE_UNSPEC;
  header.rtm_protocol = RTPROT_STATIC;
  const bool to_link = route.kind == RouteKind::forward && route.gateway == 0;
  header.rtm_scope = to_link ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  header.rtm_type = type_of(route.kind);
  Message message(type, flags, header);
  message.add(RTA_TABLE, route.table);
  if (route.to.bits > 0) message.add(RTA_DST, network_order(route.to.address));
  if (route.kind == RouteKind::forward) message.add(RTA_OIF, route.interface);
  if (route.gateway != 0) message.add(RTA_GATEWAY, network_order(route.gateway));
  if (route.metric != 0) message.add(RTA_PRIORITY, route.metric);
  return ask(message.take());
}

bool RouteSocket::add_route(const Route& route) {
  return change_route(route, RTM_NEWROUTE, kCreate);
}

bool RouteSocket::remove_route(const Route& route) {
  return change_route(route, RTM_DELROUTE, kRequest);
}

bool RouteSocket::add_rule(std::uint32_t priority, const std::string& interface, std::uint32_t table) {
  fib_rule_hdr header{};
  header.family = AF_INET;
  header.action = FR_ACT_TO_TBL;
  Message message(RTM_NEWRULE, kCreate, header);
  message.add(FRA_PRIORITY, priority).add(FRA_TABLE, table);
  if (!interface.empty()) message.add_text(FRA_IIFNAME, interface);
  return ask(message.take());
}

std::optional<std::vector<std::uint32_t>> RouteSocket::addresses() {
  ifaddrmsg header{};
  header.ifa_family = AF_INET;
  std::string request = Message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, header).take();
  const std::uint32_t sequence = ++sequence_;
  std::memcpy(request.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof(sequence));
  if (::send(socket_.get(), request.data(), request.size(), 0) < 0) return std::nullopt;
  std::array<char, kAnswerBytes> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): only what was read is used
  std::vector<std::uint32_t> found;
  for (std::optional<int> end; !end;) {
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    // News that did not fit in are no answer of this request.
    if (got < 0 && (errno == EINTR || errno == ENOBUFS)) continue;
    if (got < 0) return std::nullopt;
    for_each_message({buffer.data(), static_cast<std::size_t>(got)},
                     [&](const nlmsghdr& part, std::span<const char> body) {
                       if (part.nlmsg_seq != sequence) return;
                       if (part.nlmsg_type == RTM_NEWADDR) take_address(body, found);
                       if (part.nlmsg_type == NLMSG_DONE) end = 0;
                       if (part.nlmsg_type == NLMSG_ERROR) end = error_in(body);
                     });
    if (end.value_or(0) != 0) {
      errno = *end;
      return std::nullopt;
    }
  }
  return found;
}

int interface_index(const char* name) {
  return static_cast<int>(::if_nametoindex(name));
}

}  // namespace millrace::launcher
