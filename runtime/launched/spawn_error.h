// What it means for people and for retries that the launcher could not prepare or start a function.
#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "core/function_spec.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launched {

// invalid_argument when the function itself is wrong, `unavailable` when the host cannot do it now.
[[nodiscard]] Error error_of(const launcher::PrepareFailed& failed);

// What was asked for, so that the message can name it.
struct SpawnContext {
  const FunctionSpec& function;
  std::vector<std::string> inputs;  // names
};

// By step: the program itself is invalid_argument (it can never start), a replaced input not_found, a file that may not
// be read permission_denied, everything else `unavailable` or resource_exhausted.
[[nodiscard]] Error error_of(const launcher::SpawnFailed& failed, const SpawnContext& context);

}  // namespace millrace::launched
