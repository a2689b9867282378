#include "runtime/launcher/probe.h"

#include <array>

namespace millrace::launcher {
namespace {

ControlState& of(Hello& hello, Control control) {
  return hello.controls.at(static_cast<std::size_t>(control));
}

}  // namespace

Hello probe_host(const HostRights& rights, const GroupDriver& groups, const ContainerSupport& containers,
                 const PrivateNetworks& networks) {
  Hello hello;
  hello.privileged = rights.is_root();
  for (const Control control :
       {Control::memory, Control::cpu_weight, Control::cpu_quota, Control::pids, Control::kill_group}) {
    of(hello, control) = groups.state(control);
  }
  if (ControlState& kill = of(hello, Control::kill_group); kill.support == Support::missing) {
    kill = {.support = Support::emulated, .reason = "trees are ended by parentage: " + kill.reason};
  }
  for (const Control control : {Control::namespaces, Control::seccomp, Control::idmapped_mounts, Control::user_ids}) {
    of(hello, control) = containers.state(control);
  }
  of(hello, Control::private_network) = networks.state();
  of(hello, Control::read_leases) =
      hello.privileged
          ? ControlState{.support = Support::real, .reason = {}}
          : ControlState{.support = Support::emulated, .reason = "not root: only files of this user can be asked for"};
  return hello;
}

}  // namespace millrace::launcher
