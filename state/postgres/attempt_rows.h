// The statements about attempts, and what their answers say.
#pragma once

#include <string>
#include <vector>

#include "core/run.h"
#include "state/postgres/answer.h"
#include "state/postgres/statement.h"

namespace millrace::postgres {

// Answers two flags: a run's row stands; the attempt has begun.
[[nodiscard]] Query begin_attempt(const Attempt& attempt);
// Answers two flags: the attempt is known; this call ended it. `unless_named`: not one that a row names.
[[nodiscard]] Query end_attempt(const Attempt& attempt, bool unless_named);
[[nodiscard]] Query attempts_of(const RunId& run_id);
[[nodiscard]] Query attempts_open(WallTime before, const AttemptToken& after, std::size_t limit);
[[nodiscard]] Query attempts_stale(std::size_t limit);
[[nodiscard]] Query forget_directory(const AttemptToken& token);
[[nodiscard]] Query attempts_unclaimed(const std::vector<AttemptToken>& tokens);

[[nodiscard]] Result<std::vector<Attempt>> read_attempts(const Answer& answer);

[[nodiscard]] std::vector<Statement> attempt_statements();

}  // namespace millrace::postgres
