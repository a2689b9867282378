// What our filters answer is what those answer that libseccomp makes of the same rules: for every call number, every
// entry of the kernel, and arguments around everything that a rule looks at. Both programs are run as the kernel would.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "core/fd.h"
#include "runtime/launcher/seccomp.h"

namespace millrace::launcher {
namespace {

using Program = std::vector<sock_filter>;
using Context = std::unique_ptr<void, decltype(&seccomp_release)>;

constexpr std::uint32_t kNumbersEnd = 601;  // of the calls that are compared; the last ones no kernel has
constexpr std::uint32_t kX32Bit = 0x4000'0000;
constexpr std::uint64_t kLowHalf = 0xffff'ffff;
constexpr int kRandomTables = 40;
constexpr int kRandomCalls = 4;  // for each number

// The kernel's interpreter of classic BPF, as far as both compilers use it; nothing for a program that it would refuse.
std::optional<std::uint32_t> verdict(const Program& program, const seccomp_data& call) {
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

// A condition on the bits of an argument.
struct Bits {
  unsigned argument;
  std::uint64_t mask;
  std::uint64_t value;
};

// Conditions, one of which holds exactly where the low half of the argument is none of `values`: the blocks of numbers
// with a common beginning that hold none of them. libseccomp has no "not equal" for a part of an argument.
void add_others(std::vector<Bits>& into, unsigned argument, std::span<const std::uint32_t> values, unsigned known = 0,
                std::uint32_t beginning = 0) {
  const auto mask = known == 0 ? 0 : ~std::uint32_t{0} << (32 - known);
  const bool has = std::ranges::any_of(values, [&](std::uint32_t value) { return (value & mask) == beginning; });
  if (!has) return into.push_back({.argument = argument, .mask = mask, .value = beginning});
  if (known == 32) return;
  add_others(into, argument, values, known + 1, beginning);
  add_others(into, argument, values, known + 1, beginning | 1U << (31 - known));
}

class Oracle {
 public:
  Oracle(std::span<const CallRule> rules, Network network, FilterPart part, std::uint32_t optimize)
      : context_(seccomp_init(SCMP_ACT_ALLOW), &seccomp_release), network_(network) {
    good(seccomp_attr_set(context_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    good(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_OPTIMIZE, optimize));
    for (std::uint32_t number = 0; number < kNumbersEnd; ++number) {
      if (part_of(number) == part) add(number, action_of(number, rules));
    }
  }

  Program program() {
    const Fd file(::memfd_create("filter", MFD_CLOEXEC));
    good(seccomp_export_bpf(context_.get(), file.get()));
    const auto bytes = static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END));
    Program read(bytes / sizeof(sock_filter));
    EXPECT_EQ(::pread(file.get(), read.data(), bytes, 0), static_cast<ssize_t>(bytes));
    return read;
  }

 private:
  static void good(int answer) { ASSERT_EQ(answer, 0) << std::strerror(-answer); }

  void refuse(std::uint32_t number, int error, const std::vector<Bits>& where) {
    std::vector<scmp_arg_cmp> conditions;
    for (const Bits& bits : where) {
      conditions.push_back(
          {.arg = bits.argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits.mask, .datum_b = bits.value});
    }
    good(seccomp_rule_add_exact_array(context_.get(), SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error)),
                                      static_cast<int>(number), static_cast<unsigned>(conditions.size()),
                                      conditions.data()));
  }

  void refuse_each(std::uint32_t number, int error, const std::vector<Bits>& of) {
    for (const Bits& bits : of) refuse(number, error, {bits});
  }

  void add(std::uint32_t number, CallAction action) {
    std::vector<Bits> found;
    switch (action) {
      case CallAction::allow: return;
      case CallAction::deny: return refuse(number, EPERM, {});
      case CallAction::absent: return refuse(number, ENOSYS, {});
      case CallAction::clone_flags:
        for (std::uint64_t bit = 1; bit <= kNamespaceFlags; bit <<= 1) {
          if ((kNamespaceFlags & bit) != 0) refuse(number, EPERM, {{.argument = 0, .mask = bit, .value = bit}});
        }
        return;
      case CallAction::personality:
        add_others(found, 0, std::array<std::uint32_t, 2>{0, 0xffff'ffff});
        return refuse_each(number, EPERM, found);
      case CallAction::ioctl_request:
        refuse(number, EPERM, {{.argument = 1, .mask = kLowHalf, .value = TIOCSTI}});
        return refuse(number, EPERM, {{.argument = 1, .mask = kLowHalf, .value = TIOCLINUX}});
      case CallAction::socket_domain: return add_socket(number);
      case CallAction::user_id: return add_users(number, 1);
      case CallAction::user_ids_2: return add_users(number, 2);
      case CallAction::user_ids_3: return add_users(number, 3);
    }
  }

  void add_users(std::uint32_t number, unsigned arguments) {
    for (unsigned i = 0; i < arguments; ++i) {
      refuse(number, EPERM, {{.argument = i, .mask = kLowHalf, .value = kTemplateUidBeside}});
    }
  }

  void add_socket(std::uint32_t number) {
    std::vector<std::uint32_t> known{AF_UNIX, AF_INET, AF_INET6};
    if (network_ != Network::none) known.push_back(AF_NETLINK);
    std::vector<Bits> found;
    add_others(found, 0, known);
    refuse_each(number, EAFNOSUPPORT, found);
    if (network_ == Network::none) return;
    std::vector<Bits> protocols;
    add_others(protocols, 2, std::array<std::uint32_t, 1>{0});
    for (const Bits& protocol : protocols) {
      refuse(number, EAFNOSUPPORT, {{.argument = 0, .mask = kLowHalf, .value = AF_NETLINK}, protocol});
    }
  }

  Context context_;
  Network network_;
};

// Around everything that a rule asks for, and in the half of the register that the kernel ignores.
std::vector<std::uint64_t> interesting_values() {
  std::vector<std::uint64_t> values{0, 1ULL << 32, kLowHalf, ~0ULL, 0x8000'0000};
  for (const std::uint64_t near :
       {std::uint64_t{AF_UNIX}, std::uint64_t{AF_INET}, std::uint64_t{AF_INET6}, std::uint64_t{AF_NETLINK},
        std::uint64_t{AF_VSOCK}, std::uint64_t{TIOCSTI}, std::uint64_t{TIOCLINUX}, std::uint64_t{kTemplateUidBeside}}) {
    values.insert(values.end(), {near - 1, near, near + 1, near | 1ULL << 32});
  }
  for (unsigned bit = 0; bit < 33; ++bit) values.push_back(1ULL << bit);
  return values;
}

class SeccompContract : public testing::Test {
 protected:
  SeccompContract() : seed_(make_seed()), random_(seed_) { std::printf("MILLRACE_SEED=%u\n", seed_); }

  // MILLRACE_SEED repeats a run.
  static std::uint32_t make_seed() {
    const char* text = std::getenv("MILLRACE_SEED");
    return text == nullptr ? std::random_device{}() : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
  }

  std::uint64_t any_value() { return values_.at(random_() % values_.size()); }

  // The arguments that are tried with every number: each value in each of the arguments, and mixtures of them.
  std::vector<std::array<std::uint64_t, 6>> arguments() {
    std::vector<std::array<std::uint64_t, 6>> made;
    for (const std::uint64_t value : values_) {
      for (const std::size_t place : {0U, 1U, 2U}) {
        made.push_back({0, 0, 0, 0, 0, 0});
        made.back().at(place) = value;
        made.push_back({AF_NETLINK, 0, value, 0, 0, 0});
      }
    }
    for (int i = 0; i < kRandomCalls; ++i) {
      made.push_back({any_value(), any_value(), any_value(), random_(), random_(), random_()});
    }
    return made;
  }

  void compare(std::span<const CallRule> rules, Network network, FilterPart part) {
    const Program ours = compile_filter(rules, network, part);
    for (const std::uint32_t optimize : {1U, 2U}) {  // by priority in a list, and as a binary tree
      const Program theirs = Oracle(rules, network, part, optimize).program();
      ASSERT_FALSE(theirs.empty());
      std::vector<std::uint32_t> entries{AUDIT_ARCH_X86_64};
      // The inner filter runs behind the outer one, which lets no other entry pass.
      if (part == FilterPart::outer) {
        entries.insert(entries.end(), {AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM, 0});
      }
      for (const std::uint32_t entry : entries) compare_entry(ours, theirs, entry, part);
    }
  }

  void compare_entry(const Program& ours, const Program& theirs, std::uint32_t entry, FilterPart part) {
    const auto tried = arguments();
    for (std::uint32_t number = 0; number < kNumbersEnd; ++number) {
      for (const std::uint32_t bit : {0U, kX32Bit}) {
        if (bit != 0 && part == FilterPart::inner) continue;
        for (const auto& values : tried) {
          seccomp_data call{.nr = static_cast<int>(number | bit), .arch = entry, .instruction_pointer = 0, .args = {}};
          std::ranges::copy(values, std::begin(call.args));
          const auto answer = verdict(ours, call);
          ASSERT_TRUE(answer);
          ASSERT_EQ(answer, verdict(theirs, call))
              << "seed " << seed_ << ", call " << number << (bit != 0 ? " by x32" : "") << ", entry " << entry
              << ", arguments " << values[0] << " " << values[1] << " " << values[2];
        }
      }
    }
  }

  std::uint32_t seed_;
  std::mt19937 random_;
  std::vector<std::uint64_t> values_ = interesting_values();
};

constexpr std::array kNetworks{Network::none, Network::host, Network::outbound};
constexpr std::array kParts{FilterPart::outer, FilterPart::inner};

TEST_F(SeccompContract, FiltersOfEveryNetworkAnswerAsLibseccompsDo) {
  for (const Network network : kNetworks) {
    for (const FilterPart part : kParts) ASSERT_NO_FATAL_FAILURE(compare(call_rules(), network, part));
  }
}

TEST_F(SeccompContract, RandomTablesAnswerAsLibseccompsDo) {
  for (int table = 0; table < kRandomTables; ++table) {
    Network network{};
    FilterPart part{};
    std::vector<CallRule> rules;
    Program ours;
    do {  // tables that the kernel takes, of which the first is no trivial one
      network = kNetworks.at(random_() % kNetworks.size());
      part = kParts.at(random_() % kParts.size());
      rules.clear();
      const std::uint32_t dense = 2 + random_() % 60;
      auto action = CallAction::deny;
      for (std::uint32_t number = 0; number < kSharedCallsEnd; ++number) {
        // Neighbours often have the same action, as in the real table.
        if (random_() % 3 == 0)
          action = static_cast<CallAction>(random_() % (1 + static_cast<int>(CallAction::user_ids_3)));
        if (random_() % dense == 0) rules.push_back({.number = number, .action = action, .reason = "chance"});
      }
      ours = compile_filter(rules, network, part);
    } while (ours.size() > kFilterInstructionsMax || (table == 0 && ours.size() <= kFilterInstructionsMax / 2));
    ASSERT_NO_FATAL_FAILURE(compare(rules, network, part));
  }
}

}  // namespace
}  // namespace millrace::launcher
