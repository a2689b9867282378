// The system call filter of containers: a table that says of every call what happens to it and why, and a compiler to
// short BPF programs.
//
// There are two, and a function runs under both: the outer one is loaded once, by the template, and leaves out the few
// calls that build a sandbox; the inner one is loaded in each sandbox, and is about those only. The kernel compiles a
// filter and runs it for every call number when it is loaded: all of the table in a linear list costs 350 us, searched
// by halves 65, the inner filter 15.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

enum class CallAction : std::uint8_t {
  allow,
  deny,           // EPERM
  absent,         // ENOSYS: libraries fall back to an older call
  clone_flags,    // EPERM with a flag for a new namespace
  socket_domain,  // EAFNOSUPPORT but for unix, inet, inet6; with a network also netlink route
  personality,    // EPERM but for asking and for the default
  ioctl_request,  // EPERM for what types into a terminal
  user_id,        // EPERM for the id that all templates share: in the first argument,
  user_ids_2,     // in the first two,
  user_ids_3,     // in all three
};

struct CallRule {
  std::uint32_t number = 0;
  CallAction action = CallAction::deny;
  std::string_view reason;
};

// The calls that are not simply allowed, by ascending number.
[[nodiscard]] std::span<const CallRule> call_rules();

// What is not numbered between these is absent: a call that this table does not know cannot be judged.
inline constexpr std::uint32_t kOldCallsEnd = 335;       // x86_64's own numbering
inline constexpr std::uint32_t kSharedCallsBegin = 424;  // common to all machines since Linux 5.1
inline constexpr std::uint32_t kSharedCallsEnd = 463;

[[nodiscard]] CallAction action_of(std::uint32_t number);
[[nodiscard]] CallAction action_of(std::uint32_t number, std::span<const CallRule> rules);

// What CallAction::clone_flags refuses: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
inline constexpr std::uint32_t kNamespaceFlags = 0x7e02'0000;

// Which of the two filters refuses the call: the inner one those that a template makes itself.
enum class FilterPart : std::uint8_t { outer, inner };
[[nodiscard]] FilterPart part_of(std::uint32_t number);

// The programs for x86_64, at most kFilterInstructionsMax long. In the outer one, a call by the 32-bit or the x32 entry
// ends the process; the inner one relies on that.
[[nodiscard]] std::vector<sock_filter> compile_filter(Network network, FilterPart part);
inline constexpr std::size_t kFilterInstructionsMax = 240;

// The same of another table, by ascending number. What comes out longer than kFilterInstructionsMax may jump wrongly.
[[nodiscard]] std::vector<sock_filter> compile_filter(std::span<const CallRule> rules, Network network,
                                                      FilterPart part);

// As the kernel takes it; the filter must outlive it.
[[nodiscard]] inline sock_fprog program_of(std::span<const sock_filter> filter) {
  return {.len = static_cast<unsigned short>(filter.size()), .filter = const_cast<sock_filter*>(filter.data())};
}

}  // namespace millrace::launcher
