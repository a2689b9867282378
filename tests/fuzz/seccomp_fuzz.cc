// The compiler of system call filters: whatever table it is given, its program answers as the one that libseccomp makes
// of the same rules, if the table is not too long for one. The input is a table and arguments to try.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <span>
#include <vector>

#include "tests/contract/seccomp/oracle.h"

namespace {

using namespace millrace;
using launcher::CallAction;
using launcher::FilterPart;
using launcher::Network;

using Arguments = std::array<std::uint64_t, 3>;

constexpr std::size_t kArgumentSetsMax = 8;

// Zero where nothing is left.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  std::uint64_t number(std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes && !rest_.empty(); ++i) {
      value |= std::uint64_t{rest_.front()} << (8 * i);
      rest_ = rest_.subspan(1);
    }
    return value;
  }
  [[nodiscard]] bool empty() const { return rest_.empty(); }

 private:
  std::span<const std::uint8_t> rest_;
};

struct Programs {
  test::Program ours;
  test::Program theirs;

  void compare(std::uint32_t number, std::uint32_t entry, const Arguments& arguments) const {
    const seccomp_data call{.nr = static_cast<int>(number),
                            .arch = entry,
                            .instruction_pointer = 0,
                            .args = {arguments[0], arguments[1], arguments[2], 0, 0, 0}};
    const auto answer = test::verdict(ours, call);
    if (!answer || answer != test::verdict(theirs, call)) std::abort();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto network = static_cast<Network>(input.number(1) % (1 + static_cast<unsigned>(Network::outbound)));
  const auto part = static_cast<FilterPart>(input.number(1) % 2);
  const auto optimize = static_cast<std::uint32_t>(1 + input.number(1) % 2);
  std::map<std::uint32_t, CallAction> table;
  for (std::uint64_t left = input.number(1); left > 0 && !input.empty(); --left) {
    const auto number = static_cast<std::uint32_t>(input.number(2) % launcher::kSharedCallsEnd);
    table[number] = static_cast<CallAction>(input.number(1) % (1 + static_cast<unsigned>(CallAction::user_ids_3)));
  }
  std::vector<launcher::CallRule> rules;
  for (const auto& [number, action] : table) rules.push_back({.number = number, .action = action, .reason = "fuzz"});

  const test::Program ours = launcher::compile_filter(rules, network, part);
  if (ours.size() > launcher::kFilterInstructionsMax) return 0;
  const Programs programs{.ours = ours, .theirs = test::SeccompOracle(rules, network, part, optimize).program()};

  std::vector<Arguments> tried{{0, 0, 0}};
  while (!input.empty() && tried.size() < kArgumentSetsMax) {
    tried.push_back({input.number(8), input.number(8), input.number(8)});
  }
  for (std::uint32_t number = 0; number < test::kNumbersEnd; ++number) {
    for (const auto& arguments : tried) {
      programs.compare(number, AUDIT_ARCH_X86_64, arguments);
      if (part == FilterPart::inner) continue;  // it runs behind the outer one, which lets no other entry pass
      programs.compare(number | test::kX32Bit, AUDIT_ARCH_X86_64, arguments);
      programs.compare(number, AUDIT_ARCH_I386, arguments);
    }
  }
  static const std::vector<std::uint64_t> kValues = test::interesting_values();
  for (const auto& [number, action] : table) {
    for (const std::uint64_t value : kValues) {
      for (const Arguments& arguments :
           {Arguments{value, 0, 0}, Arguments{0, value, 0}, Arguments{0, 0, value}, Arguments{AF_NETLINK, 0, value}}) {
        programs.compare(number, AUDIT_ARCH_X86_64, arguments);
      }
    }
  }
  return 0;
}
