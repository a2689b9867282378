// What every adapter refuses before it asks its store, so that all of them refuse the same.
#pragma once

#include "core/error.h"
#include "state/state_store.h"

namespace millrace::state {

[[nodiscard]] Result<void> check_new(const Attempt& attempt);    // before begin_attempt
[[nodiscard]] Result<void> check_ended(const Attempt& attempt);  // before end_attempt
[[nodiscard]] Result<void> check(const RunRecord& record);
[[nodiscard]] Result<void> check(const RunFilter& filter);
[[nodiscard]] Result<void> check_limit(std::size_t limit);

}  // namespace millrace::state
