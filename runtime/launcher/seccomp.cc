#include "runtime/launcher/seccomp.h"

#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

namespace millrace::launcher {
namespace {

using enum CallAction;

constexpr std::string_view kOthers = "reads or changes other processes";
constexpr std::string_view kClock = "changes the host's clock";
constexpr std::string_view kMounts = "changes or walks what is mounted; read-only inputs rest on this";
constexpr std::string_view kHost = "administers the host";
constexpr std::string_view kModules = "loads code into the kernel";
constexpr std::string_view kGone = "removed from Linux or never implemented";
constexpr std::string_view kKeys = "the kernel's keyrings are not separated by namespaces";
constexpr std::string_view kNuma = "moves memory between nodes; needs CAP_SYS_NICE for others' anyway";
constexpr std::string_view kNamespaces = "enters or makes namespaces, where capabilities would come back";
constexpr std::string_view kRing = "runs calls past this filter";
constexpr std::string_view kHandles = "opens files past the directory tree";
constexpr std::string_view kSegments = "old segment interface with a history of faults";
constexpr std::string_view kSharedId = "the id of all templates: what the kernel counts by user would be shared";
constexpr std::string_view kSecurity = "reads or changes the host's security modules";

// Numbers without a name here are newer than the C library's headers.
constexpr std::uint32_t kStatmount = 457, kListmount = 458, kLsmGet = 459, kLsmSet = 460, kLsmList = 461;

constexpr auto kRules = std::to_array<CallRule>({
    {SYS_ioctl, ioctl_request, "TIOCSTI and TIOCLINUX type into the terminal of whoever started us"},
    {SYS_socket, socket_domain, "AF_VSOCK ignores network namespaces; others are rarely used and often at fault"},
    {SYS_clone, clone_flags, kNamespaces},
    {SYS_ptrace, deny, kOthers},
    {SYS_syslog, deny, "reads the kernel's log"},
    {SYS_setuid, user_id, kSharedId},
    {SYS_setreuid, user_ids_2, kSharedId},
    {SYS_setresuid, user_ids_3, kSharedId},
    {SYS_setfsuid, user_id, kSharedId},
    {SYS_uselib, deny, kGone},
    {SYS_personality, personality, "switches off address randomisation and other protections"},
    {SYS_ustat, deny, kGone},
    {SYS_sysfs, deny, kGone},
    {SYS_vhangup, deny, kHost},
    {SYS_modify_ldt, deny, kSegments},
    {SYS_pivot_root, deny, kMounts},
    {SYS__sysctl, deny, kGone},
    {SYS_adjtimex, deny, kClock},
    {SYS_chroot, deny, kMounts},
    {SYS_acct, deny, kHost},
    {SYS_settimeofday, deny, kClock},
    {SYS_mount, deny, kMounts},
    {SYS_umount2, deny, kMounts},
    {SYS_swapon, deny, kHost},
    {SYS_swapoff, deny, kHost},
    {SYS_reboot, deny, kHost},
    {SYS_sethostname, deny, kHost},
    {SYS_setdomainname, deny, kHost},
    {SYS_iopl, deny, kHost},
    {SYS_ioperm, deny, kHost},
    {SYS_create_module, deny, kModules},
    {SYS_init_module, deny, kModules},
    {SYS_delete_module, deny, kModules},
    {SYS_get_kernel_syms, deny, kGone},
    {SYS_query_module, deny, kGone},
    {SYS_quotactl, deny, kHost},
    {SYS_nfsservctl, deny, kGone},
    {SYS_getpmsg, deny, kGone},
    {SYS_putpmsg, deny, kGone},
    {SYS_afs_syscall, deny, kGone},
    {SYS_tuxcall, deny, kGone},
    {SYS_security, deny, kGone},
    {SYS_set_thread_area, deny, kSegments},
    {SYS_get_thread_area, deny, kSegments},
    {SYS_lookup_dcookie, deny, kGone},
    {SYS_clock_settime, deny, kClock},
    {SYS_vserver, deny, kGone},
    {SYS_mbind, deny, kNuma},
    {SYS_set_mempolicy, deny, kNuma},
    {SYS_get_mempolicy, deny, kNuma},
    {SYS_kexec_load, deny, kModules},
    {SYS_add_key, deny, kKeys},
    {SYS_request_key, deny, kKeys},
    {SYS_keyctl, deny, kKeys},
    {SYS_migrate_pages, deny, kNuma},
    {SYS_unshare, deny, kNamespaces},
    {SYS_move_pages, deny, kNuma},
    {SYS_perf_event_open, deny, "profiles the kernel and other processes"},
    {SYS_fanotify_init, deny, kHost},
    {SYS_name_to_handle_at, deny, kHandles},
    {SYS_open_by_handle_at, deny, kHandles},
    {SYS_clock_adjtime, deny, kClock},
    {SYS_setns, deny, kNamespaces},
    {SYS_process_vm_readv, deny, kOthers},
    {SYS_process_vm_writev, deny, kOthers},
    {SYS_kcmp, deny, kOthers},
    {SYS_finit_module, deny, kModules},
    {SYS_kexec_file_load, deny, kModules},
    {SYS_bpf, deny, kModules},
    {SYS_userfaultfd, deny, "holds the kernel in page faults; a tool of many exploits"},
    {SYS_io_uring_setup, deny, kRing},
    {SYS_io_uring_enter, deny, kRing},
    {SYS_io_uring_register, deny, kRing},
    {SYS_open_tree, deny, kMounts},
    {SYS_move_mount, deny, kMounts},
    {SYS_fsopen, deny, kMounts},
    {SYS_fsconfig, deny, kMounts},
    {SYS_fsmount, deny, kMounts},
    {SYS_fspick, deny, kMounts},
    {SYS_clone3, absent, "its flags lie in memory, where a filter cannot see them; libraries fall back to clone"},
    {SYS_pidfd_getfd, deny, kOthers},
    {SYS_process_madvise, deny, kOthers},
    {SYS_mount_setattr, deny, kMounts},
    {SYS_quotactl_fd, deny, kHost},
    {SYS_process_mrelease, deny, kOthers},
    {SYS_set_mempolicy_home_node, deny, kNuma},
    {kStatmount, deny, kMounts},
    {kListmount, deny, kMounts},
    {kLsmGet, deny, kSecurity},
    {kLsmSet, deny, kSecurity},
    {kLsmList, deny, kSecurity},
});
static_assert(std::ranges::is_sorted(kRules, {}, &CallRule::number));

// What makes a sandbox, in the template and in its child before the function starts.
constexpr auto kSandboxCalls = std::to_array<std::uint32_t>(
    {SYS_chroot, SYS_mount, SYS_sethostname, SYS_unshare, SYS_setns, SYS_move_mount, SYS_clone3});
static_assert(std::ranges::is_sorted(kSandboxCalls));

constexpr std::uint32_t kX32Bit = 0x4000'0000;
constexpr std::uint32_t kAskPersonality = 0xffff'ffff;
constexpr std::uint32_t kRouteProtocol = 0;  // NETLINK_ROUTE

struct Range {
  std::uint32_t first;
  CallAction action;
};

class Compiler {
 public:
  Compiler(std::span<const CallRule> rules, Network network, FilterPart part)
      : rules_(rules), network_(network), part_(part) {}

  std::vector<sock_filter> compile() {
    std::vector<Range> ranges{{.first = 0, .action = part_action_of(0)}};
    for (std::uint32_t number = 1; number <= kSharedCallsEnd; ++number) {
      if (const CallAction action = part_action_of(number); action != ranges.back().action) {
        ranges.push_back({.first = number, .action = action});
      }
    }
    if (part_ == FilterPart::outer) {
      load(offsetof(seccomp_data, arch));
      jump(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0);
      answer(SECCOMP_RET_KILL_PROCESS);
    }
    load(offsetof(seccomp_data, nr));
    if (part_ == FilterPart::outer) {
      jump(BPF_JGE, kX32Bit, 0, 1);
      answer(SECCOMP_RET_KILL_PROCESS);
    }
    search(ranges);
    return std::move(program_);
  }

 private:
  [[nodiscard]] CallAction part_action_of(std::uint32_t number) const {
    return part_of(number) == part_ ? action_of(number, rules_) : allow;
  }

  void load(std::size_t offset) {
    program_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)));
  }
  // The low half of an argument; the kernel ignores the high half of those that are tested here.
  void load_argument(std::size_t index) { load(offsetof(seccomp_data, args) + 8 * index); }
  void jump(unsigned test, std::uint32_t value, std::uint8_t if_true, std::uint8_t if_false) {
    program_.push_back(BPF_JUMP(static_cast<std::uint16_t>(BPF_JMP | BPF_K | test), value, if_true, if_false));
  }
  void answer(std::uint32_t value) { program_.push_back(BPF_STMT(BPF_RET | BPF_K, value)); }
  void refuse(int error) { answer(SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)); }
  void permit() { answer(SECCOMP_RET_ALLOW); }

  void search(std::span<const Range> ranges) {
    if (ranges.size() == 1) return decide(ranges.front().action);
    const std::size_t middle = ranges.size() / 2;
    const std::size_t at = program_.size();
    jump(BPF_JGE, ranges[middle].first, 0, 0);
    search(ranges.first(middle));
    // Jumps reach 255 instructions; kFilterInstructionsMax keeps every program below that.
    program_[at].jt = static_cast<std::uint8_t>(program_.size() - at - 1);
    search(ranges.subspan(middle));
  }

  void decide(CallAction action) {
    switch (action) {
      case allow: return permit();
      case deny: return refuse(EPERM);
      case absent: return refuse(ENOSYS);
      case clone_flags:
        load_argument(0);
        jump(BPF_JSET, kNamespaceFlags, 0, 1);
        refuse(EPERM);
        return permit();
      case personality:
        load_argument(0);
        jump(BPF_JEQ, 0, 2, 0);
        jump(BPF_JEQ, kAskPersonality, 1, 0);
        refuse(EPERM);
        return permit();
      case ioctl_request:
        load_argument(1);
        jump(BPF_JEQ, TIOCSTI, 1, 0);
        jump(BPF_JEQ, TIOCLINUX, 0, 1);
        refuse(EPERM);
        return permit();
      case socket_domain: return decide_socket();
      case user_id: return decide_user_ids(1);
      case user_ids_2: return decide_user_ids(2);
      case user_ids_3: return decide_user_ids(3);
    }
  }

  void decide_user_ids(std::size_t arguments) {
    for (std::size_t index = 0; index < arguments; ++index) {
      load_argument(index);
      // To refuse(), over the tests that follow and permit().
      jump(BPF_JEQ, kTemplateUidBeside, static_cast<std::uint8_t>(2 * (arguments - 1 - index) + 1), 0);
    }
    permit();
    refuse(EPERM);
  }

  void decide_socket() {
    const bool route = network_ != Network::none;
    // Distances to permit(), over what stands between.
    const std::uint8_t after = route ? 4 : 1;
    load_argument(0);
    jump(BPF_JEQ, AF_UNIX, static_cast<std::uint8_t>(after + 2), 0);
    jump(BPF_JEQ, AF_INET, static_cast<std::uint8_t>(after + 1), 0);
    jump(BPF_JEQ, AF_INET6, after, 0);
    if (route) {
      // getifaddrs asks the kernel by netlink.
      jump(BPF_JEQ, AF_NETLINK, 0, 2);
      load_argument(2);
      jump(BPF_JEQ, kRouteProtocol, 1, 0);
    }
    refuse(EAFNOSUPPORT);
    permit();
  }

  std::span<const CallRule> rules_;
  Network network_;
  FilterPart part_;
  std::vector<sock_filter> program_;
};

}  // namespace

std::span<const CallRule> call_rules() {
  return kRules;
}

CallAction action_of(std::uint32_t number) {
  return action_of(number, kRules);
}

CallAction action_of(std::uint32_t number, std::span<const CallRule> rules) {
  if (number >= kSharedCallsEnd || (number >= kOldCallsEnd && number < kSharedCallsBegin)) return absent;
  const auto rule = std::ranges::lower_bound(rules, number, {}, &CallRule::number);
  return rule != rules.end() && rule->number == number ? rule->action : allow;
}

FilterPart part_of(std::uint32_t number) {
  return std::ranges::binary_search(kSandboxCalls, number) ? FilterPart::inner : FilterPart::outer;
}

std::vector<sock_filter> compile_filter(Network network, FilterPart part) {
  return compile_filter(kRules, network, part);
}

std::vector<sock_filter> compile_filter(std::span<const CallRule> rules, Network network, FilterPart part) {
  return Compiler(rules, network, part).compile();
}

}  // namespace millrace::launcher
