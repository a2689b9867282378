// The system call filter of seccomp.h as an OCI runtime wants it: by the names of calls, made into a filter by
// libseccomp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

// A test of the low half of one argument, which is all that the kernel looks at in the calls concerned.
struct ArgumentTest {
  std::uint32_t index = 0;
  std::uint32_t mask = 0;
  std::uint32_t value = 0;  // what the masked argument must be
};

// What becomes of a call. A call without a rule is absent (ENOSYS), as is one whose tests all fail.
struct OciCallRule {
  std::uint32_t number = 0;
  int error = 0;  // 0: allowed
  bool tested = false;
  ArgumentTest test{};
};

// The rules for every call that has a name, made of the same table as the compiled filter. They differ in what they
// cannot say: a refused socket domain that is not among the common ones, a refused personality and a clone with new
// namespaces are ENOSYS here. User ids are not tested, since these containers share no id.
[[nodiscard]] std::vector<OciCallRule> oci_call_rules(Network network);

// The value of `linux.seccomp`.
[[nodiscard]] std::string oci_seccomp(Network network);

}  // namespace millrace::launcher
