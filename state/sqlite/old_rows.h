// The statements that find and remove what is old; each runs within a worker's transaction.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "core/run.h"
#include "state/sqlite/database.h"
#include "state/state_store.h"

namespace millrace::sqlite {

[[nodiscard]] Result<std::optional<WallTime>> committed_before_last(Database& database, std::size_t count);
[[nodiscard]] Result<std::vector<OldRun>> removable_runs(Database& database, WallTime before, const RunId& after,
                                                         std::size_t limit);
[[nodiscard]] Result<std::size_t> remove_runs(Database& database, const std::vector<RunId>& run_ids);
[[nodiscard]] Result<std::size_t> remove_lone_attempts(Database& database, WallTime before, std::size_t limit);

// All that the above ask, for a test that looks whether each finds an index.
[[nodiscard]] std::vector<std::string> old_row_statements();

}  // namespace millrace::sqlite
