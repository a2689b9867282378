// What an OCI runtime makes of the filter that is written for it, by libseccomp as runtimes do: it allows a call
// exactly where our own two filters together allow it, but for what the header of oci_seccomp.h says.
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"
#include "runtime/launcher/call_names.h"
#include "runtime/launcher/oci_seccomp.h"
#include "tests/contract/seccomp/oracle.h"

namespace millrace::launcher {
namespace {

using test::Program;
using test::verdict;

std::uint32_t action_named(const Json& rule) {
  const std::string action = rule.string_or("action", "");
  if (action == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  EXPECT_EQ(action, "SCMP_ACT_ERRNO");
  return SCMP_ACT_ERRNO(static_cast<std::uint32_t>(rule.uint_or("errnoRet", 0)));
}

// `linux.seccomp` as a runtime reads it.
Program runtimes_program(Network network) {
  const auto document = parse_json(oci_seccomp(network), 16 << 20);
  EXPECT_TRUE(document);
  if (!document) return {};
  EXPECT_EQ(document->string_or("defaultAction", ""), "SCMP_ACT_ERRNO");
  test::SeccompContext context(SCMP_ACT_ERRNO(static_cast<std::uint32_t>(document->uint_or("defaultErrnoRet", 0))));
  const Json* rules = document->find("syscalls");
  EXPECT_NE(rules, nullptr);
  if (rules == nullptr) return {};
  for (const Json& rule : rules->items()) {
    std::vector<scmp_arg_cmp> conditions;
    if (const Json* tests = rule.find("args")) {
      for (const Json& test : tests->items()) {
        EXPECT_EQ(test.string_or("op", ""), "SCMP_CMP_MASKED_EQ");
        conditions.push_back({.arg = static_cast<unsigned>(test.uint_or("index", 9)),
                              .op = SCMP_CMP_MASKED_EQ,
                              .datum_a = test.uint_or("value", 0),
                              .datum_b = test.uint_or("valueTwo", 0)});
      }
    }
    const Json* names = rule.find("names");
    EXPECT_NE(names, nullptr);
    if (names == nullptr) return {};
    for (const Json& name : names->items()) {
      const int number = seccomp_syscall_resolve_name(name.string()->c_str());
      EXPECT_GE(number, 0) << *name.string();
      context.add(action_named(rule), number, conditions);
    }
  }
  return context.program();
}

// Under both of ours, as a function runs in our own containers.
bool is_allowed(const Program& outer, const Program& inner, const seccomp_data& call) {
  return verdict(outer, call) == SECCOMP_RET_ALLOW && verdict(inner, call) == SECCOMP_RET_ALLOW;
}

// What the header of oci_seccomp.h says; nothing where both must agree.
std::optional<bool> exception(std::uint32_t number, Network network, std::uint64_t first) {
  if (call_name(number).empty()) return false;  // runtimes cannot be told of it
  switch (action_of(number)) {
    case CallAction::user_id:
    case CallAction::user_ids_2:
    case CallAction::user_ids_3: return true;  // these containers share no id
    case CallAction::socket_domain:            // not every runtime tests the protocol beside the domain
      if (network != Network::none && static_cast<std::uint32_t>(first) == AF_NETLINK) return true;
      return std::nullopt;
    default: return std::nullopt;
  }
}

TEST(OciSeccompContract, AllowsWhatOurOwnFiltersAllowTogether) {
  std::vector<std::array<std::uint64_t, 3>> arguments;
  for (const std::uint64_t value : test::interesting_values()) {
    arguments.insert(arguments.end(), {{value, 0, 0}, {0, value, 0}, {0, 0, value}, {AF_NETLINK, 0, value}});
  }
  for (const Network network : {Network::none, Network::host, Network::outbound}) {
    const Program theirs = runtimes_program(network);
    const Program outer = compile_filter(network, FilterPart::outer);
    const Program inner = compile_filter(network, FilterPart::inner);
    for (std::uint32_t number = 0; number < test::kNumbersEnd; ++number) {
      for (const auto& [first, second, third] : arguments) {
        const seccomp_data call{.nr = static_cast<int>(number),
                                .arch = AUDIT_ARCH_X86_64,
                                .instruction_pointer = 0,
                                .args = {first, second, third, 0, 0, 0}};
        const bool allowed = exception(number, network, first).value_or(is_allowed(outer, inner, call));
        const auto answer = verdict(theirs, call);
        ASSERT_TRUE(answer);
        ASSERT_EQ(*answer == SECCOMP_RET_ALLOW, allowed)
            << call_name(number) << " (" << number << "), arguments " << first << " " << second << " " << third;
        if (!allowed) {
          ASSERT_EQ(*answer & SECCOMP_RET_ACTION_FULL, std::uint32_t{SECCOMP_RET_ERRNO}) << call_name(number);
        }
      }
    }
  }
}

}  // namespace
}  // namespace millrace::launcher
