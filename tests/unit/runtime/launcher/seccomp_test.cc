#include "runtime/launcher/seccomp.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace millrace::launcher {
namespace {

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t kKill = SECCOMP_RET_KILL_PROCESS;
std::uint32_t refusal(int error) {
  return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error);
}

// What the kernel would answer: the part of classic BPF that filters use. Fails the test on anything else.
std::uint32_t evaluate(const std::vector<sock_filter>& program, const seccomp_data& call) {
  std::uint32_t accumulator = 0;
  for (std::size_t at = 0; at < program.size(); ++at) {
    const sock_filter& step = program[at];
    switch (step.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        EXPECT_LE(step.k + sizeof(accumulator), sizeof(call));
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&call) + step.k, sizeof(accumulator));
        break;
      case BPF_JMP | BPF_JEQ | BPF_K: at += accumulator == step.k ? step.jt : step.jf; break;
      case BPF_JMP | BPF_JGE | BPF_K: at += accumulator >= step.k ? step.jt : step.jf; break;
      case BPF_JMP | BPF_JSET | BPF_K: at += (accumulator & step.k) != 0 ? step.jt : step.jf; break;
      case BPF_RET | BPF_K: return step.k;
      default: ADD_FAILURE() << "unexpected instruction " << step.code; return 0;
    }
  }
  ADD_FAILURE() << "the program has no end";
  return 0;
}

// Under both, as a function runs: the kernel takes the answer that permits less, which is the smaller one as a signed
// number.
std::uint32_t evaluate(Network network, const seccomp_data& call) {
  const auto outer = evaluate(compile_filter(network, FilterPart::outer), call);
  const auto inner = evaluate(compile_filter(network, FilterPart::inner), call);
  return static_cast<std::int32_t>(inner) < static_cast<std::int32_t>(outer) ? inner : outer;
}

std::uint32_t evaluate(Network network, std::uint32_t number, std::uint64_t first = 0, std::uint64_t second = 0,
                       std::uint64_t third = 0) {
  return evaluate(network, seccomp_data{.nr = static_cast<int>(number),
                                        .arch = AUDIT_ARCH_X86_64,
                                        .instruction_pointer = 0,
                                        .args = {first, second, third, 0, 0, 0}});
}

TEST(SeccompFilter, AnswersEveryNumberAsTheTableSays) {
  for (std::uint32_t number = 0; number < 1000; ++number) {
    const auto answer = evaluate(Network::none, number);
    switch (action_of(number)) {
      case CallAction::allow: EXPECT_EQ(answer, kAllow) << number; break;
      case CallAction::deny: EXPECT_EQ(answer, refusal(EPERM)) << number; break;
      case CallAction::absent: EXPECT_EQ(answer, refusal(ENOSYS)) << number; break;
      default: break;  // depends on arguments, below
    }
  }
}

// The template could not work otherwise.
TEST(SeccompFilter, LeavesTheCallsThatMakeASandboxToTheInnerPart) {
  const auto outer = compile_filter(Network::none, FilterPart::outer);
  const auto inner = compile_filter(Network::none, FilterPart::inner);
  EXPECT_EQ(inner.size(), compile_filter(Network::host, FilterPart::inner).size());
  for (const std::uint32_t number : std::initializer_list<std::uint32_t>{
           SYS_clone3, SYS_chroot, SYS_mount, SYS_move_mount, SYS_setns, SYS_unshare, SYS_sethostname}) {
    const seccomp_data call{.nr = static_cast<int>(number),
                            .arch = AUDIT_ARCH_X86_64,
                            .instruction_pointer = 0,
                            .args = {CLONE_NEWUSER, 0, 0, 0, 0, 0}};
    EXPECT_EQ(evaluate(outer, call), kAllow) << number;
    EXPECT_NE(evaluate(inner, call), kAllow) << number;
  }
}

TEST(SeccompFilter, StaysShortAndItsJumpsInside) {
  const std::vector<std::pair<std::vector<sock_filter>, std::size_t>> programs{
      {compile_filter(Network::none, FilterPart::outer), 50},
      {compile_filter(Network::host, FilterPart::outer), 50},
      {compile_filter(Network::none, FilterPart::inner), 10}};
  for (const auto& [program, longer_than] : programs) {
    EXPECT_LE(program.size(), kFilterInstructionsMax);
    EXPECT_GT(program.size(), longer_than);
    for (std::size_t at = 0; at < program.size(); ++at) {
      if ((program[at].code & 7) != BPF_JMP) continue;
      EXPECT_LT(at + program[at].jt + 1, program.size());
      EXPECT_LT(at + program[at].jf + 1, program.size());
    }
  }
}

// The host id of all templates is what the kernel counts descriptors in flight by.
TEST(SeccompFilter, LetsNobodyBecomeTheUserOfAllTemplates) {
  constexpr std::uint64_t kShared = kTemplateUidBeside;
  constexpr std::uint64_t kKeep = 0xffff'ffff;
  for (const std::uint32_t number :
       std::initializer_list<std::uint32_t>{SYS_setuid, SYS_setreuid, SYS_setresuid, SYS_setfsuid}) {
    EXPECT_EQ(evaluate(Network::none, number, kShared, kKeep, kKeep), refusal(EPERM)) << number;
    EXPECT_EQ(evaluate(Network::none, number, kShared | (1ULL << 32), kKeep, kKeep), refusal(EPERM)) << number;
    EXPECT_EQ(evaluate(Network::none, number, 1000, 1000, 1000), kAllow) << number;
  }
  EXPECT_EQ(evaluate(Network::none, SYS_setreuid, kKeep, kShared, 0), refusal(EPERM));
  EXPECT_EQ(evaluate(Network::none, SYS_setresuid, kKeep, kShared, kKeep), refusal(EPERM));
  EXPECT_EQ(evaluate(Network::none, SYS_setresuid, kKeep, kKeep, kShared), refusal(EPERM));
  // What a call without such an argument has in the register means nothing.
  EXPECT_EQ(evaluate(Network::none, SYS_setuid, 1000, kShared, kShared), kAllow);
  EXPECT_EQ(evaluate(Network::none, SYS_setreuid, 1000, 1000, kShared), kAllow);
}

TEST(SeccompFilter, EndsCallsByOtherEntries) {
  for (const std::uint32_t architecture : {std::uint32_t{AUDIT_ARCH_I386}, std::uint32_t{AUDIT_ARCH_AARCH64}, 0U}) {
    const seccomp_data call{.nr = SYS_read, .arch = architecture, .instruction_pointer = 0, .args = {}};
    EXPECT_EQ(evaluate(Network::none, call), kKill);
  }
  EXPECT_EQ(evaluate(Network::none, 0x4000'0000), kKill);
  EXPECT_EQ(evaluate(Network::none, 0x4000'0000 + SYS_getpid), kKill);
  EXPECT_EQ(evaluate(Network::none, 0xffff'ffff), kKill);
  EXPECT_EQ(evaluate(Network::none, 0x3fff'ffff), refusal(ENOSYS));
}

TEST(SeccompFilter, TellsTheDangerousFromTheOrdinary) {
  for (const unsigned number : std::initializer_list<unsigned>{SYS_mount,
                                                               SYS_umount2,
                                                               SYS_unshare,
                                                               SYS_setns,
                                                               SYS_ptrace,
                                                               SYS_bpf,
                                                               SYS_keyctl,
                                                               SYS_open_tree,
                                                               SYS_move_mount,
                                                               SYS_fsopen,
                                                               SYS_mount_setattr,
                                                               SYS_pivot_root,
                                                               SYS_chroot,
                                                               SYS_io_uring_setup,
                                                               SYS_userfaultfd,
                                                               SYS_perf_event_open,
                                                               SYS_open_by_handle_at,
                                                               SYS_kexec_load,
                                                               SYS_init_module,
                                                               SYS_reboot}) {
    EXPECT_EQ(evaluate(Network::host, number), refusal(EPERM)) << number;
  }
  for (const unsigned number :
       std::initializer_list<unsigned>{SYS_read, SYS_openat, SYS_execve, SYS_futex, SYS_rseq, SYS_statx, SYS_fork,
                                       SYS_vfork, SYS_seccomp, SYS_memfd_create, SYS_close_range, SYS_openat2,
                                       SYS_landlock_restrict_self, SYS_futex_waitv, SYS_pidfd_open}) {
    EXPECT_EQ(evaluate(Network::none, number), kAllow) << number;
  }
  EXPECT_EQ(evaluate(Network::none, SYS_clone3), refusal(ENOSYS));
}

TEST(SeccompFilter, ForbidsNamespacesToClone) {
  EXPECT_EQ(evaluate(Network::none, SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_SETTLS), kAllow);
  EXPECT_EQ(evaluate(Network::none, SYS_clone, CLONE_VFORK | CLONE_VM | 17), kAllow);
  for (const unsigned flag : std::initializer_list<unsigned>{CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                                             CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET}) {
    EXPECT_EQ(evaluate(Network::none, SYS_clone, flag | 17U), refusal(EPERM)) << flag;
  }
}

TEST(SeccompFilter, PermitsThreeSocketFamiliesAndRouteQueriesOnTheHostsNetwork) {
  for (int family = 0; family < AF_MAX; ++family) {
    const bool plain = family == AF_UNIX || family == AF_INET || family == AF_INET6;
    const auto number = static_cast<std::uint64_t>(family);
    EXPECT_EQ(evaluate(Network::none, SYS_socket, number), plain ? kAllow : refusal(EAFNOSUPPORT)) << family;
    const bool route = family == AF_NETLINK;
    EXPECT_EQ(evaluate(Network::host, SYS_socket, number), plain || route ? kAllow : refusal(EAFNOSUPPORT)) << family;
    // NETLINK_AUDIT and other protocols.
    EXPECT_EQ(evaluate(Network::host, SYS_socket, number, 0, 9), plain ? kAllow : refusal(EAFNOSUPPORT)) << family;
  }
}

TEST(SeccompFilter, PermitsTheDefaultPersonalityAndAsking) {
  EXPECT_EQ(evaluate(Network::none, SYS_personality, 0), kAllow);
  EXPECT_EQ(evaluate(Network::none, SYS_personality, 0xffff'ffff), kAllow);
  EXPECT_EQ(evaluate(Network::none, SYS_personality, 0x0040000), refusal(EPERM));
}

TEST(SeccompFilter, ForbidsTypingIntoTerminals) {
  EXPECT_EQ(evaluate(Network::none, SYS_ioctl, 0, TIOCSTI), refusal(EPERM));
  EXPECT_EQ(evaluate(Network::none, SYS_ioctl, 0, TIOCLINUX), refusal(EPERM));
  // The kernel looks at the low half only, so what is above must not hide it.
  EXPECT_EQ(evaluate(Network::none, SYS_ioctl, 0, 0x1'0000'0000ULL | TIOCSTI), refusal(EPERM));
  EXPECT_EQ(evaluate(Network::none, SYS_ioctl, 0, TIOCGWINSZ), kAllow);
}

TEST(SeccompTable, GivesAReasonForEveryRuleAndOneRuleForEveryNumber) {
  std::map<std::uint32_t, int> seen;
  for (const CallRule& rule : call_rules()) {
    EXPECT_FALSE(rule.reason.empty()) << rule.number;
    EXPECT_NE(rule.action, CallAction::allow) << rule.number;
    EXPECT_EQ(++seen[rule.number], 1) << rule.number;
    EXPECT_EQ(action_of(rule.number), rule.action);
  }
}

TEST(SeccompTable, TreatsUnknownNumbersAsAbsent) {
  EXPECT_EQ(action_of(kOldCallsEnd - 1), CallAction::allow);
  EXPECT_EQ(action_of(kOldCallsEnd), CallAction::absent);
  EXPECT_EQ(action_of(kSharedCallsBegin - 1), CallAction::absent);
  EXPECT_EQ(action_of(kSharedCallsBegin), CallAction::allow);
  EXPECT_EQ(action_of(kSharedCallsEnd - 1), CallAction::allow);
  EXPECT_EQ(action_of(kSharedCallsEnd), CallAction::absent);
}

}  // namespace
}  // namespace millrace::launcher
