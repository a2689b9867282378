// What the system remembers and reports, as JSON: for the API and for the state store. For functions see
// function_json.h.
//
// Times are RFC 3339 with as many digits as they need, absent where they are unknown (the epoch); sizes and durations
// are whole numbers with their unit in the name. Texts that need not be UTF-8 (names of objects, logs, results) are
// strings, or {"base64": "..."} where they are not.
#pragma once

#include "core/error.h"
#include "core/event.h"
#include "core/run.h"
#include "formats/function_json.h"  // IWYU pragma: export
#include "formats/json.h"

namespace millrace {

[[nodiscard]] Json to_json(const ObjectRef& object);
[[nodiscard]] Json to_json(const Usage& usage);
[[nodiscard]] Json to_json(const OutputFile& file);
[[nodiscard]] Json to_json(const Attempt& attempt);
[[nodiscard]] Json to_json(const RunRecord& run);
// For lists: how many outputs there are (`outputs_count`) instead of each.
[[nodiscard]] Json summary_json(const RunRecord& run);

// What an event says about itself; of its data the size.
[[nodiscard]] Json to_json(const Event& event);

// The way back, without loss: attempt_from_json(to_json(a)) is a. Unknown members are ignored.
[[nodiscard]] Result<Attempt> attempt_from_json(const Json& json);
[[nodiscard]] Result<RunRecord> run_from_json(const Json& json);

}  // namespace millrace
