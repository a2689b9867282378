// Trying namespaces, and making those that are kept alive by a descriptor only.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::launcher {

// Whether this host lets us make every kind of namespace that a sandbox has. The error names the first that it refuses.
[[nodiscard]] Result<void> try_namespaces();

// A user namespace with these maps: lines of "<id inside> <id outside> <count>". Needs root.
[[nodiscard]] Result<Fd> make_user_namespace(const std::string& uid_map, const std::string& gid_map);

// A network namespace in a user namespace of its own that belongs to this user: whoever is this user may enter both,
// and has every right in them. Needs root.
struct OwnedNetwork {
  Fd user;
  Fd network;
};
[[nodiscard]] Result<OwnedNetwork> make_owned_network(std::uint32_t uid, std::uint32_t gid);

// A network namespace that belongs to this user namespace, with a loopback interface that is down.
[[nodiscard]] Result<Fd> make_network_namespace(int user_namespace);

// Puts the caller, which must be of one thread, into a network namespace for as long as this lives.
class NetworkVisit {
 public:
  // `home`: the caller's own, to come back to.
  NetworkVisit(int there, int home);
  ~NetworkVisit();
  NetworkVisit(const NetworkVisit&) = delete;
  NetworkVisit& operator=(const NetworkVisit&) = delete;

  [[nodiscard]] bool entered() const { return entered_; }

 private:
  int home_;
  bool entered_;
};

// Of the network namespace that the caller is in; false with errno.
[[nodiscard]] bool raise_loopback();

// A network namespace with nothing but a loopback interface that is up; owned by the caller's user namespace. The
// caller itself is in it afterwards, so only templates call this. /proc must be the caller's.
[[nodiscard]] Result<Fd> enter_new_network_namespace();

// Looks into a network namespace from wherever: its tables stay those of the namespace in which they were opened.
class NetworkTables {
 public:
  // Of the namespace that the caller is in.
  [[nodiscard]] static NetworkTables open();
  // True when no TCP or UDP socket is left there, not even one in TIME_WAIT.
  [[nodiscard]] bool is_clean() const;

 private:
  Fd v4_;
  Fd v6_;  // IPv6 may be off, then there is no second table
};

}  // namespace millrace::launcher
