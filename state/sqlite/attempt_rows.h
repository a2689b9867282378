// The statements about attempts; each runs within a worker's transaction.
#pragma once

#include <vector>

#include "core/run.h"
#include "state/sqlite/database.h"

namespace millrace::sqlite {

[[nodiscard]] Result<void> insert_attempt(Database& database, const Attempt& attempt);
[[nodiscard]] Result<void> finish_attempt(Database& database, const Attempt& attempt);
// False: it has an end, or a row names it; nothing was written.
[[nodiscard]] Result<bool> abandon_attempt(Database& database, const Attempt& attempt);
[[nodiscard]] Result<std::vector<Attempt>> attempts_of(Database& database, const RunId& run_id);
[[nodiscard]] Result<std::vector<Attempt>> attempts_open(Database& database, WallTime before, const AttemptToken& after,
                                                         std::size_t limit);
[[nodiscard]] Result<std::vector<Attempt>> attempts_stale(Database& database, std::size_t limit);
[[nodiscard]] Result<void> forget_directory(Database& database, const AttemptToken& token);
[[nodiscard]] Result<std::vector<AttemptToken>> attempts_unclaimed(Database& database,
                                                                   const std::vector<AttemptToken>& tokens);

// It was ended as lost: its directory is no row's.
[[nodiscard]] Result<bool> is_lost(Database& database, const AttemptToken& token);

// The row names its attempt from now on; with outputs, the directory is the row's.
[[nodiscard]] Result<void> name_attempt(Database& database, const RunRecord& record);

}  // namespace millrace::sqlite
