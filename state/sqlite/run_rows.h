// The statements about run records; each runs within a worker's transaction.
#pragma once

#include <optional>
#include <vector>

#include "core/run.h"
#include "state/sqlite/database.h"
#include "state/state_store.h"

namespace millrace::sqlite {

// False: a row of this run stands already, nothing was written.
[[nodiscard]] Result<bool> insert_run(Database& database, const RunRecord& record);
[[nodiscard]] Result<void> mark_run(Database& database, const RunId& run_id, const RunMarks& marks, WallTime now);
[[nodiscard]] Result<std::optional<RunRecord>> find_run(Database& database, const RunId& run_id);
[[nodiscard]] Result<std::vector<RunRecord>> list_runs(Database& database, const RunFilter& filter);
[[nodiscard]] Result<std::vector<RunRecord>> runs_unfinished(Database& database, WallTime before, const RunId& after,
                                                             std::size_t limit);
[[nodiscard]] Result<Order> newest_order(Database& database);
[[nodiscard]] Result<std::vector<RunRecord>> runs_of_event(Database& database, const EventId& event_id);
[[nodiscard]] Result<std::vector<RunRecord>> runs_caused_by(Database& database, const RunId& run_id);

}  // namespace millrace::sqlite
