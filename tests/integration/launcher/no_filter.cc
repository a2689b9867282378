// In place of runtime/launcher/seccomp.cc, for a launcher whose sandboxes have a filter that lets everything pass. The
// break-out probe must find out: a probe that cannot fail proves nothing.
#include "runtime/launcher/seccomp.h"

#include <linux/seccomp.h>

namespace millrace::launcher {

std::span<const CallRule> call_rules() {
  return {};
}

CallAction action_of(std::uint32_t /*number*/) {
  return CallAction::allow;
}

FilterPart part_of(std::uint32_t /*number*/) {
  return FilterPart::outer;
}

std::vector<sock_filter> compile_filter(Network /*network*/, FilterPart /*part*/) {
  return {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
}

}  // namespace millrace::launcher
