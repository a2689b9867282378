// The causal chain of an event as a tree of text.
#pragma once

#include <string>

#include "formats/json.h"

namespace millrace::cli {

// `chain` is the array of roots in the server's answer, each with its children.
[[nodiscard]] std::string chain_text(const Json& chain, bool colours);

}  // namespace millrace::cli
