// The statements that find and remove what is old, and what their answers say.
#pragma once

#include <cstddef>
#include <vector>

#include "core/run.h"
#include "state/postgres/answer.h"
#include "state/postgres/statement.h"
#include "state/state_store.h"

namespace millrace::postgres {

// Answers the time, or no row.
[[nodiscard]] Query committed_before_last(std::size_t count);
[[nodiscard]] Query removable_runs(WallTime before, const RunId& after, std::size_t limit);
// Both answer how many went.
[[nodiscard]] Query remove_runs(const std::vector<RunId>& run_ids);
[[nodiscard]] Query remove_lone_attempts(WallTime before, std::size_t limit);

[[nodiscard]] std::vector<OldRun> read_removable(const Answer& answer);

[[nodiscard]] std::vector<Statement> old_row_statements();

}  // namespace millrace::postgres
