// libseccomp, which no program of ours uses, as the judge of our compiler of system call filters: its program for the
// same rules, and the kernel's interpreter to ask both.
//
//   SeccompOracle oracle(call_rules(), Network::none, FilterPart::outer, 1);
//   verdict(compile_filter(Network::none, FilterPart::outer), call) == verdict(oracle.program(), call)
#pragma once

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/fd.h"
#include "runtime/launcher/seccomp.h"

namespace millrace::test {

using Program = std::vector<sock_filter>;

inline constexpr std::uint32_t kNumbersEnd = 601;  // of the calls that are compared; the last ones no kernel has
inline constexpr std::uint32_t kX32Bit = 0x4000'0000;
inline constexpr std::uint64_t kLowHalf = 0xffff'ffff;

// The kernel's interpreter of classic BPF, as far as both compilers use it; nothing for a program that it would refuse.
inline std::optional<std::uint32_t> verdict(const Program& program, const seccomp_data& call) {
  std::uint32_t accumulator = 0;
  for (std::size_t at = 0; at < program.size(); ++at) {
    const sock_filter& step = program[at];
    const bool jumps = BPF_CLASS(step.code) == BPF_JMP;
    bool taken = false;
    switch (step.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (step.k % 4 != 0 || step.k + 4 > sizeof(call)) return std::nullopt;
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&call) + step.k, 4);
        break;
      case BPF_ALU | BPF_AND | BPF_K: accumulator &= step.k; break;
      case BPF_RET | BPF_K: return step.k;
      case BPF_JMP | BPF_JA: at += step.k; continue;
      case BPF_JMP | BPF_JEQ | BPF_K: taken = accumulator == step.k; break;
      case BPF_JMP | BPF_JGT | BPF_K: taken = accumulator > step.k; break;
      case BPF_JMP | BPF_JGE | BPF_K: taken = accumulator >= step.k; break;
      case BPF_JMP | BPF_JSET | BPF_K: taken = (accumulator & step.k) != 0; break;
      default: return std::nullopt;
    }
    if (jumps) at += taken ? step.jt : step.jf;
  }
  return std::nullopt;
}

// Around everything that a rule asks for, and in the half of the register that the kernel ignores.
inline std::vector<std::uint64_t> interesting_values() {
  std::vector<std::uint64_t> values{0, 1ULL << 32, kLowHalf, ~0ULL, 0x8000'0000};
  for (const std::uint64_t near : {std::uint64_t{AF_UNIX}, std::uint64_t{AF_INET}, std::uint64_t{AF_INET6},
                                   std::uint64_t{AF_NETLINK}, std::uint64_t{AF_VSOCK}, std::uint64_t{TIOCSTI},
                                   std::uint64_t{TIOCLINUX}, std::uint64_t{launcher::kTemplateUidBeside}}) {
    values.insert(values.end(), {near - 1, near, near + 1, near | 1ULL << 32});
  }
  for (unsigned bit = 0; bit < 33; ++bit) values.push_back(1ULL << bit);
  return values;
}

// A filter that libseccomp makes. What it cannot do ends the program, since nothing could be compared then.
class SeccompContext {
 public:
  explicit SeccompContext(std::uint32_t default_action) : context_(seccomp_init(default_action), &seccomp_release) {
    set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  }

  void set(scmp_filter_attr attribute, std::uint32_t value) {
    good(seccomp_attr_set(context_.get(), attribute, value));
  }
  void add(std::uint32_t action, int number, std::span<const scmp_arg_cmp> conditions) {
    good(seccomp_rule_add_exact_array(context_.get(), action, number, static_cast<unsigned>(conditions.size()),
                                      conditions.data()));
  }

  [[nodiscard]] Program program() const {
    const Fd file(::memfd_create("filter", MFD_CLOEXEC));
    good(seccomp_export_bpf(context_.get(), file.get()));
    const auto bytes = static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END));
    Program read(bytes / sizeof(sock_filter));
    good(::pread(file.get(), read.data(), bytes, 0) == static_cast<ssize_t>(bytes) ? 0 : -EIO);
    return read;
  }

 private:
  static void good(int answer) {
    if (answer == 0) return;
    std::fprintf(stderr, "libseccomp: %s\n", std::strerror(-answer));
    std::abort();
  }

  std::unique_ptr<void, decltype(&seccomp_release)> context_;
};

class SeccompOracle {
 public:
  // `optimize`: 1, by priority in a list, or 2, as a binary tree.
  SeccompOracle(std::span<const launcher::CallRule> rules, launcher::Network network, launcher::FilterPart part,
                std::uint32_t optimize)
      : context_(SCMP_ACT_ALLOW), network_(network) {
    context_.set(SCMP_FLTATR_CTL_OPTIMIZE, optimize);
    for (std::uint32_t number = 0; number < kNumbersEnd; ++number) {
      if (launcher::part_of(number) == part) add(number, launcher::action_of(number, rules));
    }
  }

  [[nodiscard]] Program program() const { return context_.program(); }

 private:
  // A condition on the bits of an argument.
  struct Bits {
    unsigned argument;
    std::uint64_t mask;
    std::uint64_t value;
  };

  // Conditions, one of which holds exactly where the low half of the argument is none of `values`: the blocks of
  // numbers with a common beginning that hold none of them. libseccomp has no "not equal" for a part of an argument.
  static void add_others(std::vector<Bits>& into, unsigned argument, std::span<const std::uint32_t> values,
                         unsigned known = 0, std::uint32_t beginning = 0) {
    const auto mask = known == 0 ? 0 : ~std::uint32_t{0} << (32 - known);
    const bool has = std::ranges::any_of(values, [&](std::uint32_t value) { return (value & mask) == beginning; });
    if (!has) return into.push_back({.argument = argument, .mask = mask, .value = beginning});
    if (known == 32) return;
    add_others(into, argument, values, known + 1, beginning);
    add_others(into, argument, values, known + 1, beginning | 1U << (31 - known));
  }

  void refuse(std::uint32_t number, int error, const std::vector<Bits>& where) {
    std::vector<scmp_arg_cmp> conditions;
    for (const Bits& bits : where) {
      conditions.push_back(
          {.arg = bits.argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits.mask, .datum_b = bits.value});
    }
    context_.add(SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error)), static_cast<int>(number), conditions);
  }

  void refuse_each(std::uint32_t number, int error, const std::vector<Bits>& of) {
    for (const Bits& bits : of) refuse(number, error, {bits});
  }

  void add(std::uint32_t number, launcher::CallAction action) {
    using enum launcher::CallAction;
    std::vector<Bits> found;
    switch (action) {
      case allow: return;
      case deny: return refuse(number, EPERM, {});
      case absent: return refuse(number, ENOSYS, {});
      case clone_flags:
        for (std::uint64_t bit = 1; bit <= launcher::kNamespaceFlags; bit <<= 1) {
          if ((launcher::kNamespaceFlags & bit) != 0) {
            refuse(number, EPERM, {{.argument = 0, .mask = bit, .value = bit}});
          }
        }
        return;
      case personality:
        add_others(found, 0, std::array<std::uint32_t, 2>{0, 0xffff'ffff});
        return refuse_each(number, EPERM, found);
      case ioctl_request:
        refuse(number, EPERM, {{.argument = 1, .mask = kLowHalf, .value = TIOCSTI}});
        return refuse(number, EPERM, {{.argument = 1, .mask = kLowHalf, .value = TIOCLINUX}});
      case socket_domain: return add_socket(number);
      case user_id: return add_users(number, 1);
      case user_ids_2: return add_users(number, 2);
      case user_ids_3: return add_users(number, 3);
    }
  }

  void add_users(std::uint32_t number, unsigned arguments) {
    for (unsigned i = 0; i < arguments; ++i) {
      refuse(number, EPERM, {{.argument = i, .mask = kLowHalf, .value = launcher::kTemplateUidBeside}});
    }
  }

  void add_socket(std::uint32_t number) {
    std::vector<std::uint32_t> known{AF_UNIX, AF_INET, AF_INET6};
    if (network_ != launcher::Network::none) known.push_back(AF_NETLINK);
    std::vector<Bits> found;
    add_others(found, 0, known);
    refuse_each(number, EAFNOSUPPORT, found);
    if (network_ == launcher::Network::none) return;
    std::vector<Bits> protocols;
    add_others(protocols, 2, std::array<std::uint32_t, 1>{0});
    for (const Bits& protocol : protocols) {
      refuse(number, EAFNOSUPPORT, {{.argument = 0, .mask = kLowHalf, .value = AF_NETLINK}, protocol});
    }
  }

  SeccompContext context_;
  launcher::Network network_;
};

}  // namespace millrace::test
