// What our filters answer is what those answer that libseccomp makes of the same rules: for every call number, every
// entry of the kernel, and arguments around everything that a rule looks at. Both programs are run as the kernel would.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string_view>

#include "runtime/launcher/call_names.h"
#include "tests/contract/seccomp/oracle.h"

namespace millrace::launcher {
namespace {

using test::kNumbersEnd;
using test::kX32Bit;
using test::Program;
using test::verdict;

constexpr int kRandomTables = 40;
constexpr int kRandomCalls = 4;  // for each number

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
      const Program theirs = test::SeccompOracle(rules, network, part, optimize).program();
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
  std::vector<std::uint64_t> values_ = test::interesting_values();
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

// Runtimes find calls by these names, and the table that has them is written by hand.
TEST(SeccompNames, AreThoseThatLibseccompHas) {
  std::size_t known = 0;
  for (std::uint32_t number = 0; number < kNumbersEnd; ++number) {
    const std::string_view ours = call_name(number);
    if (ours.empty()) {
      EXPECT_GE(number, kOldCallsEnd) << "a number without a name";
      continue;
    }
    EXPECT_EQ(seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, std::string(ours).c_str()), static_cast<int>(number))
        << ours;
    ++known;
  }
  EXPECT_GT(known, 0U);
}

}  // namespace
}  // namespace millrace::launcher
