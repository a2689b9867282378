// The statements about runs, and what their answers say.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/run.h"
#include "state/postgres/answer.h"
#include "state/postgres/statement.h"
#include "state/state_store.h"

namespace millrace::postgres {

// Answers two flags: this record is the one that stands; its attempt was ended as lost.
[[nodiscard]] Query insert_run(const RunRecord& record);
// Answers a flag: there is such a run.
[[nodiscard]] Query mark_run(const RunId& run_id, const RunMarks& marks, WallTime now);
[[nodiscard]] Query find_run(const RunId& run_id);
// Answers when the run was committed, if it is there.
[[nodiscard]] Query commit_time_of(const RunId& run_id);
// `before`: when the run that the filter goes on from was committed, if it names one.
[[nodiscard]] Query list_runs(const RunFilter& filter, WallTime before);
[[nodiscard]] Query runs_unfinished(WallTime before, const RunId& after, std::size_t limit);
// Answers the order, or no row.
[[nodiscard]] Query newest_order();
[[nodiscard]] Query runs_of_event(const EventId& event_id);
[[nodiscard]] Query runs_caused_by(const RunId& run_id);

[[nodiscard]] Result<std::optional<RunRecord>> read_found(const Answer& answer);  // of find_run
[[nodiscard]] Result<std::vector<RunRecord>> read_listed(const Answer& answer);   // of the lists

[[nodiscard]] std::vector<Statement> run_statements();

}  // namespace millrace::postgres
