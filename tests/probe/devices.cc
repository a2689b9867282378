// F: devices and network.
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "tests/probe/attempts.h"

namespace millrace::probe {
namespace {

template <mode_t Type, unsigned Major, unsigned Minor>
long make_device() {
  return answer(::mknod("/tmp/device", Type | 0600, makedev(Major, Minor)));
}

template <int Domain, int Type, int Protocol>
long open_socket() {
  return answer(::socket(Domain, Type | SOCK_CLOEXEC, Protocol));
}

constexpr int kVsock = 40, kAlg = 38, kBluetooth = 31, kXdp = 44, kCan = 29, kTipc = 30, kQrtr = 42;

long connect_to(const char* host, std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return answer(fd);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, host, &address.sin_addr);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return 0;
  if (errno != EINPROGRESS) return answer(-1);
  pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
  if (::poll(&ready, 1, 500) == 0) return -ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof(error);
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return -error;
}

// A name that the observer listens on, outside; see the test.
long abstract_socket() {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return answer(fd);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  constexpr std::string_view kName = "millrace-break-out-probe";
  std::ranges::copy(kName, address.sun_path + 1);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + kName.size());
  return answer(::connect(fd, reinterpret_cast<const sockaddr*>(&address), size));
}

long foreign_device() {
  DIR* const directory = ::opendir("/dev");
  if (directory == nullptr) return answer(-1);
  constexpr std::array<std::string_view, 13> kOurs{".",      "..",    "fd",     "full", "null",    "random", "shm",
                                                   "stderr", "stdin", "stdout", "tty",  "urandom", "zero"};
  long found = -ENODEV;
  while (const dirent* entry = ::readdir(directory)) {
    if (std::ranges::find(kOurs, entry->d_name) == kOurs.end()) found = 1;
  }
  ::closedir(directory);
  return found;
}

long raise_an_interface() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof(request.ifr_name) - 1);
  request.ifr_flags = 0;
  return answer(::ioctl(fd, SIOCSIFFLAGS, &request));
}

long add_an_address() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof(request.ifr_name) - 1);
  auto* address = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
  address->sin_family = AF_INET;
  address->sin_addr.s_addr = htonl(0x0a000001);
  return answer(::ioctl(fd, SIOCSIFADDR, &request));
}

long metadata_by_ipv6() {
  const int fd = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return answer(fd);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(80);
  ::inet_pton(AF_INET6, "fd00:ec2::254", &address.sin6_addr);
  const long result = answer(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)));
  return result == -EINPROGRESS ? 0 : result;
}

long foreign_source() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  return answer(::setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof(on)));
}

long add_a_route() {
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return answer(fd);
  struct {
    nlmsghdr header;
    rtmsg route;
  } request{};
  request.header = {.nlmsg_len = sizeof(request),
                    .nlmsg_type = RTM_NEWROUTE,
                    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE,
                    .nlmsg_seq = 1,
                    .nlmsg_pid = 0};
  request.route.rtm_family = AF_INET;
  request.route.rtm_table = RT_TABLE_MAIN;
  request.route.rtm_type = RTN_UNREACHABLE;
  if (::send(fd, &request, sizeof(request), 0) < 0) return answer(-1);
  struct {
    nlmsghdr header;
    nlmsgerr error;
    std::array<char, 512> rest;
  } reply{};
  if (::recv(fd, &reply, sizeof(reply), 0) < 0) return answer(-1);
  return reply.error.error;
}

long take_the_way_out_down() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, "eth0", sizeof(request.ifr_name) - 1);
  return answer(::ioctl(fd, SIOCSIFFLAGS, &request));
}

long foreign_interface() {
  std::array<ifreq, 16> found{};
  ifconf all{};
  all.ifc_len = sizeof(found);
  all.ifc_req = found.data();
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (::ioctl(fd, SIOCGIFCONF, &all) < 0) return answer(-1);
  const auto count = static_cast<std::size_t>(all.ifc_len) / sizeof(ifreq);
  const bool only_loopback = std::all_of(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count),
                                         [](const ifreq& one) { return std::string_view(one.ifr_name) == "lo"; });
  return only_loopback ? -ENODEV : 0;
}

constexpr std::array kRows{
    Row{"F01", "make a block device", make_device<S_IFBLK, 254, 0>, {EPERM}},
    Row{"F02", "make /dev/mem", make_device<S_IFCHR, 1, 1>, {EPERM}},
    Row{"F03", "make /dev/kmsg", make_device<S_IFCHR, 1, 11>, {EPERM}},
    Row{"F04", "make /dev/fuse", make_device<S_IFCHR, 10, 229>, {EPERM}},
    Row{"F05", "make /dev/kvm", make_device<S_IFCHR, 10, 232>, {EPERM}},
    Row{"F06", "find a device that does not belong into a sandbox", foreign_device, {ENODEV}},
    Row{"F07",
        "open a device that came with the image",
        [] { return try_open("/data/device", O_RDWR); },
        {EACCES, ENOENT, EPERM}},
    Row{"F08", "open /dev/kmsg", [] { return try_open("/dev/kmsg", O_RDWR); }, {ENOENT, EACCES}},
    Row{"F09", "open /dev/fuse", [] { return try_open("/dev/fuse", O_RDWR); }, {ENOENT, EACCES}},
    Row{"F10", "open /dev/kvm", [] { return try_open("/dev/kvm", O_RDWR); }, {ENOENT, EACCES}},
    Row{"F11", "open a disk", [] { return try_open("/dev/vda", O_RDWR); }, {ENOENT, EACCES}},
    Row{"F12", "open a pseudo terminal", [] { return try_open("/dev/ptmx", O_RDWR); }, {ENOENT, EACCES}},
    Row{"F13", "reach the hypervisor (AF_VSOCK)", open_socket<kVsock, SOCK_STREAM, 0>, {EAFNOSUPPORT}},
    Row{"F14", "capture packets (AF_PACKET)", open_socket<AF_PACKET, SOCK_RAW, 0>, {EAFNOSUPPORT}},
    Row{"F15", "a raw socket", open_socket<AF_INET, SOCK_RAW, IPPROTO_ICMP>, {EPERM}},
    Row{"F16", "a raw IPv6 socket", open_socket<AF_INET6, SOCK_RAW, IPPROTO_ICMPV6>, {EPERM, EAFNOSUPPORT}},
    Row{"F17",
        "talk to the kernel (AF_NETLINK)",
        open_socket<AF_NETLINK, SOCK_RAW, 0>,
        {EAFNOSUPPORT},
        Allowed::outbound},
    Row{"F18", "audit (AF_NETLINK)", open_socket<AF_NETLINK, SOCK_RAW, 9>, {EAFNOSUPPORT}},
    Row{"F19", "the kernel's ciphers (AF_ALG)", open_socket<kAlg, SOCK_SEQPACKET, 0>, {EAFNOSUPPORT}},
    Row{"F20", "bluetooth", open_socket<kBluetooth, SOCK_RAW, 1>, {EAFNOSUPPORT}},
    Row{"F21", "AF_XDP", open_socket<kXdp, SOCK_RAW, 0>, {EAFNOSUPPORT}},
    Row{"F22", "CAN bus", open_socket<kCan, SOCK_RAW, 1>, {EAFNOSUPPORT}},
    Row{"F23", "TIPC", open_socket<kTipc, SOCK_RDM, 0>, {EAFNOSUPPORT}},
    Row{"F24", "QRTR", open_socket<kQrtr, SOCK_DGRAM, 0>, {EAFNOSUPPORT}},
    Row{"F25",
        "reach the API of the server on loopback",
        [] { return connect_to("127.0.0.1", 8090); },
        {ECONNREFUSED, ENETUNREACH}},
    Row{"F26",
        "reach the metadata of a cloud",
        [] { return connect_to("169.254.169.254", 80); },
        {ENETUNREACH, EHOSTUNREACH}},
    Row{"F27",
        "reach the internet",
        [] { return connect_to("192.0.2.1", 80); },
        {ENETUNREACH, EHOSTUNREACH},
        Allowed::outbound},
    Row{"F28", "reach an abstract socket of the host", abstract_socket, {ECONNREFUSED}},
    Row{"F29", "reach an interface other than loopback", foreign_interface, {ENODEV}, Allowed::outbound},
    Row{"F30", "take loopback down, which the next run of the pool would meet", raise_an_interface, {EPERM}},
    Row{"F31", "add an address", add_an_address, {EPERM}},
    Row{"F32", "reach another sandbox", [] { return connect_to("198.18.128.9", 7000); }, {ENETUNREACH, EHOSTUNREACH}},
    Row{"F33",
        "reach the host's loopback by the helper of private networks",
        [] { return connect_to("198.18.0.2", 8090); },
        {ENETUNREACH, EHOSTUNREACH}},
    Row{"F34", "reach a link-local address", [] { return connect_to("169.254.1.1", 80); }, {ENETUNREACH, EHOSTUNREACH}},
    Row{"F35", "reach the metadata of a cloud by IPv6", metadata_by_ipv6, {ENETUNREACH, EAFNOSUPPORT, EADDRNOTAVAIL}},
    Row{"F36", "speak from somebody else's address", foreign_source, {EPERM}},
    Row{"F37", "add a route", add_a_route, {EPERM, EAFNOSUPPORT}},
    Row{"F38", "take the way out down", take_the_way_out_down, {EPERM, ENODEV}},
};

}  // namespace

std::span<const Row> device_attempts() {
  return kRows;
}

}  // namespace millrace::probe
