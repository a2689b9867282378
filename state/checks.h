// What every adapter decides alike: what it refuses before it asks its store, and what a row says of its attempt.
#pragma once

#include <optional>
#include <vector>

#include "core/error.h"
#include "state/state_store.h"

namespace millrace::state {

// How the attempt ended that a row without outputs names, where the row alone says so.
[[nodiscard]] inline std::optional<AttemptOutcome> end_of_attempt(const RunRecord& record) {
  if (!record.outputs.empty()) return std::nullopt;
  if (record.outcome == RunOutcome::succeeded) return AttemptOutcome::succeeded;
  if (record.outcome == RunOutcome::skipped) return AttemptOutcome::cancelled;
  return std::nullopt;
}

[[nodiscard]] Result<void> check_new(const Attempt& attempt);    // before begin_attempt
[[nodiscard]] Result<void> check_ended(const Attempt& attempt);  // before end_attempt
[[nodiscard]] Result<void> check(const RunRecord& record);
[[nodiscard]] Result<void> check(const RunFilter& filter);
[[nodiscard]] Result<void> check_limit(std::size_t limit);
[[nodiscard]] Result<void> check(const std::vector<AttemptToken>& tokens);

// Of a commit whose attempt was ended as lost.
[[nodiscard]] Error given_up(const RunRecord& record);

}  // namespace millrace::state
