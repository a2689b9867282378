#include "runtime/launcher/oci_seccomp.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <span>
#include <string_view>
#include <utility>

#include "runtime/launcher/call_names.h"
#include "runtime/launcher/json_text.h"
#include "runtime/launcher/seccomp.h"

namespace millrace::launcher {
namespace {

constexpr std::uint32_t kWhole = 0xffff'ffff;
constexpr std::uint32_t kAskPersonality = 0xffff'ffff;

class Rules {
 public:
  explicit Rules(Network network) : network_(network) {}

  std::vector<OciCallRule> make() {
    for (std::uint32_t number = 0; number < kSharedCallsEnd; ++number) {
      if (!call_name(number).empty()) add(number);
    }
    return std::move(rules_);
  }

 private:
  void always(std::uint32_t number, int error) { rules_.push_back({.number = number, .error = error}); }
  void when(std::uint32_t number, int error, ArgumentTest test) {
    rules_.push_back({.number = number, .error = error, .tested = true, .test = test});
  }

  void add(std::uint32_t number) {
    switch (action_of(number)) {
      case CallAction::allow:
      // No id is shared with others here: every container of this kind has a range of its own.
      case CallAction::user_id:
      case CallAction::user_ids_2:
      case CallAction::user_ids_3: return always(number, 0);
      case CallAction::deny: return always(number, EPERM);
      case CallAction::absent: return always(number, ENOSYS);
      case CallAction::clone_flags: return when(number, 0, {.index = 0, .mask = kNamespaceFlags, .value = 0});
      case CallAction::personality:
        when(number, 0, {.index = 0, .mask = kWhole, .value = 0});
        return when(number, 0, {.index = 0, .mask = kWhole, .value = kAskPersonality});
      case CallAction::socket_domain: return add_socket(number);
      case CallAction::ioctl_request: return add_ioctl(number);
    }
  }

  void add_socket(std::uint32_t number) {
    for (const std::uint32_t domain : std::array<std::uint32_t, 3>{AF_UNIX, AF_INET, AF_INET6}) {
      when(number, 0, {.index = 0, .mask = kWhole, .value = domain});
    }
    // Programs that ask for these expect to be told that there are none.
    for (const std::uint32_t domain : std::array<std::uint32_t, 4>{AF_PACKET, AF_ALG, AF_VSOCK, AF_BLUETOOTH}) {
      when(number, EAFNOSUPPORT, {.index = 0, .mask = kWhole, .value = domain});
    }
    // getifaddrs asks the kernel by netlink; which protocol of it cannot be tested beside the domain by all runtimes.
    const int netlink = network_ == Network::none ? EAFNOSUPPORT : 0;
    when(number, netlink, {.index = 0, .mask = kWhole, .value = AF_NETLINK});
  }

  // Everything but two numbers is allowed, which masks can only say piece by piece: all numbers that differ from both
  // in their first bit, in their second, and so on.
  void add_ioctl(std::uint32_t number) {
    const std::array<std::uint32_t, 2> refused{TIOCSTI, TIOCLINUX};
    for (const std::uint32_t request : refused) {
      when(number, EPERM, {.index = 1, .mask = kWhole, .value = request});
    }
    allow_beside(number, refused, 0, 0);
  }

  void allow_beside(std::uint32_t number, std::span<const std::uint32_t> refused, std::uint32_t mask,
                    std::uint32_t value) {
    bool any = false;
    for (const std::uint32_t request : refused) any = any || (request & mask) == value;
    if (!any) return when(number, 0, {.index = 1, .mask = mask, .value = value});
    if (mask == kWhole) return;
    const std::uint32_t next = mask == 0 ? 0x8000'0000 : (mask >> 1) & ~mask;
    allow_beside(number, refused, mask | next, value);
    allow_beside(number, refused, mask | next, value | next);
  }

  Network network_;
  std::vector<OciCallRule> rules_;
};

void append_action(std::string& json, int error) {
  json += R"("action":)";
  json += error == 0 ? R"("SCMP_ACT_ALLOW")" : R"("SCMP_ACT_ERRNO","errnoRet":)" + std::to_string(error);
}

}  // namespace

std::vector<OciCallRule> oci_call_rules(Network network) {
  return Rules(network).make();
}

std::string oci_seccomp(Network network) {
  const auto rules = oci_call_rules(network);
  std::string json = R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":)" + std::to_string(ENOSYS) +
                     R"(,"architectures":["SCMP_ARCH_X86_64"],"syscalls":[)";
  for (const int error : {0, EPERM}) {
    std::vector<std::string_view> names;
    for (const OciCallRule& rule : rules) {
      if (!rule.tested && rule.error == error) names.push_back(call_name(rule.number));
    }
    json += R"({"names":)";
    append_list(json, names);
    json += ',';
    append_action(json, error);
    json += "},";
  }
  for (const OciCallRule& rule : rules) {
    if (!rule.tested) continue;
    json += R"({"names":)";
    append_list(json, std::array{call_name(rule.number)});
    json += ',';
    append_action(json, rule.error);
    json += R"(,"args":[{"index":)" + std::to_string(rule.test.index) + R"(,"value":)" +
            std::to_string(rule.test.mask) + R"(,"valueTwo":)" + std::to_string(rule.test.value) +
            R"(,"op":"SCMP_CMP_MASKED_EQ"}]},)";
  }
  json.pop_back();
  return json + "]}";
}

}  // namespace millrace::launcher
