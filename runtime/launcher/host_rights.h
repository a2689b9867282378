// What the launcher may do on this host: decided once, at its start, for everything else in it.
//
//   root           ids of any range, the host's own mounts, control groups
//   own_namespace  an ordinary user, whom this host lets make user namespaces. The launcher lives in one of its own,
//                  with a copy of the host's mounts, and has every right there, over what belongs to its user. One id
//                  is known in it, that user's: templates and runs have it, too
//   none           an ordinary user elsewhere: the kind `process`, and nothing else
#pragma once

#include <cstdint>
#include <string>

namespace millrace::launcher {

struct HostRights {
  enum class Kind : std::uint8_t { root, own_namespace, none };
  Kind kind = Kind::none;
  std::string lack{};  // of `none`: what the host refuses, and what would allow it

  [[nodiscard]] bool is_root() const { return kind == Kind::root; }
  [[nodiscard]] bool one_id() const { return kind == Kind::own_namespace; }
  [[nodiscard]] bool containers() const { return kind != Kind::none; }
};

// Enters the namespaces of `own_namespace`, after a child has tried all that templates and sandboxes do there: who is
// in them finds no way back. To be called once, by the only thread, with SIGCHLD at its default, while the process is
// dumpable: else its own id maps belong to root.
[[nodiscard]] HostRights take_host_rights();

}  // namespace millrace::launcher
