// Which of the files a function left appear where. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/event.h"
#include "core/function_spec.h"
#include "core/run.h"
#include "storage/output_store.h"

namespace millrace {

// Every file is offered to every output; the order (outputs, then files by name) is the order of indexes, the same for
// every attempt that leaves the same files. `{run}`, `{event}` and `{name}` in an output path stand for the run id, the
// event id and the base name of the input without its last extension. Where that is no valid key of its own (".", ".."
// or the reserved name) `{name}` is the whole base name, and "event", as without an input, where that is none either.
[[nodiscard]] std::vector<OutputFile> name_outputs(const FunctionSpec& function, const Event& event,
                                                   const RunId& run_id, const Sealed& sealed);

// Whether a name starts with any of `prefixes` and ends with any of `suffixes`; an empty list accepts all.
[[nodiscard]] bool accepts(const std::vector<std::string>& prefixes, const std::vector<std::string>& suffixes,
                           std::string_view name);

}  // namespace millrace
