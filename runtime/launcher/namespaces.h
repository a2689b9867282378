// Trying namespaces, and making those that are kept alive by a descriptor only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/error.h"
#include "core/fd.h"
#include "runtime/launcher/vm_clone.h"

namespace millrace::launcher {

// Whether this host lets us make every kind of namespace that a sandbox has. The error names the first that it refuses.
[[nodiscard]] Result<void> try_namespaces();

// A user namespace with these maps: lines of "<id inside> <id outside> <count>". Needs the right to those ids.
[[nodiscard]] Result<Fd> make_user_namespace(const std::string& uid_map, const std::string& gid_map);

// A network namespace in a user namespace of its own that belongs to this user: whoever is this user may enter both,
// and has every right in them.
struct OwnedNetwork {
  Fd user;
  Fd network;
};
[[nodiscard]] Result<OwnedNetwork> make_owned_network(std::uint32_t uid, std::uint32_t gid);

// A network namespace that belongs to this user namespace, with a loopback interface that is down.
[[nodiscard]] Result<Fd> make_network_namespace(int user_namespace);

// Does `work` in a network namespace, on `stack`: in a child that shares the caller's memory and descriptors, so that
// what it opens there is the caller's. The caller itself could not always come back: in a user namespace that does not
// own the network it runs in, there is no way. False with errno if the namespace cannot be entered. All signals must be
// blocked.
[[nodiscard]] bool work_in_network(int network, const ChildStack& stack, const std::function<void()>& work);

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
