// The causal chain of an event as a tree of text, and what goes on of it.
#pragma once

#include <string>

#include "formats/json.h"

namespace millrace::cli {

// `chain` is the array of roots in the server's answer, each with its children.
[[nodiscard]] std::string chain_text(const Json& chain, bool colours);

// `live` is the array of the runs that are not over.
[[nodiscard]] std::string live_text(const Json& live, bool colours);

}  // namespace millrace::cli
