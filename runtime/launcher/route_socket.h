// Interfaces, addresses and routes of one network namespace: the few requests of the kernel's routing socket
// (rtnetlink) that private networks need, IPv4 only.
//
//   auto routes = RouteSocket::open();               // of the namespace that the caller is in, wherever it goes later
//   if (!routes->add_address(index, address, 31)) ...  // errno says why
//
// Every request waits for the kernel's answer, which comes without anybody else being asked. Addresses are in host
// order, 10.0.0.1 is 0x0a000001.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::launcher {

// A part of the address space: the addresses that begin like `address`.
struct Ipv4Range {
  std::uint32_t address = 0;
  int bits = 32;

  [[nodiscard]] bool contains(const Ipv4Range& other) const {
    return other.bits >= bits && (bits == 0 || ((address ^ other.address) >> (32 - bits)) == 0);
  }
  bool operator==(const Ipv4Range&) const = default;
};

// "10.0.0.1" or "10.0.0.0/8", without bits set beyond the prefix; nullopt for anything else.
[[nodiscard]] std::optional<Ipv4Range> parse_ipv4_range(std::string_view text);
[[nodiscard]] std::string format_ipv4(std::uint32_t address);

enum class RouteKind : std::uint8_t {
  forward,      // to a gateway, or straight to the interface
  prohibit,     // refused; whoever asked is told at once
  unreachable,  // the same in other words
};

struct Route {
  Ipv4Range to;
  RouteKind kind = RouteKind::forward;
  std::uint32_t table = 254;  // the main one
  int interface = 0;          // of `forward`
  std::uint32_t gateway = 0;  // 0: the interface's own link
  std::uint32_t metric = 0;   // the least wins among equal ranges
};

// One end of a pair of interfaces that are joined.
struct PairEnd {
  std::string name;
  int index = 0;
};

class RouteSocket {
 public:
  // `groups`: RTMGRP_* to be told of. Of the network namespace that the caller is in.
  [[nodiscard]] static Result<RouteSocket> open(std::uint32_t groups = 0);

  [[nodiscard]] int descriptor() const { return socket_.get(); }
  // Reads and forgets what the kernel told without being asked; false if there was nothing.
  bool discard_news();

  // False with errno, all of them.
  // `here` in this namespace, `there` in that of the descriptor.
  bool add_pair(const PairEnd& here, const PairEnd& there, int namespace_there, std::uint32_t mtu);
  bool remove_interface(int index);
  bool raise(int index, std::uint32_t mtu = 0);  // 0: as it is
  bool add_address(int index, std::uint32_t address, int bits);
  bool add_route(const Route& route);
  bool remove_route(const Route& route);
  // What comes in by `interface` (empty: whatever comes) is routed by `table`; the least priority is asked first.
  bool add_rule(std::uint32_t priority, const std::string& interface, std::uint32_t table);

  // Every address of the namespace's interfaces; nullopt with errno.
  [[nodiscard]] std::optional<std::vector<std::uint32_t>> addresses();

 private:
  explicit RouteSocket(Fd socket) : socket_(std::move(socket)) {}
  [[nodiscard]] bool ask(std::string request);
  [[nodiscard]] bool change_route(const Route& route, std::uint16_t type, std::uint16_t flags);

  Fd socket_;
  std::uint32_t sequence_ = 0;
};

// The interface's number in the namespace that the caller is in; 0 with errno.
[[nodiscard]] int interface_index(const char* name);

}  // namespace millrace::launcher
