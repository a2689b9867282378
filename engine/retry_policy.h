// Which failures are tried again, how often, and after how long. Pure rules; the classes:
//
//   function failure   exit code, signal, timeout                retries + 1 attempts
//   resource kill      out of memory, output too large           min(2, retries + 1) attempts: more of it rarely helps
//   permanent          exit codes 64 to 78 (sysexits.h)          1 attempt
//   infrastructure     our own trouble                           not counted; again for `infrastructure_retry_for`
//   loss               the worker vanished                       max_losses
#pragma once

#include <chrono>
#include <cstdint>

#include "core/backoff.h"
#include "core/error.h"
#include "core/function_spec.h"
#include "core/run.h"

namespace millrace {

// True when an attempt with this end, the `failures`th of its event (this one included), is the last.
[[nodiscard]] bool is_final(const FunctionSpec& function, AttemptOutcome outcome, int exit_code,
                            std::uint32_t failures);

// True when an error of our own will not go away: the event is given up at once.
[[nodiscard]] bool is_permanent(const Error& error);

// The wait before the attempt after `failures` failures.
[[nodiscard]] std::chrono::milliseconds retry_delay(Backoff& backoff, const FunctionSpec& function,
                                                    std::uint32_t failures);

// As long as was said, but not to the millisecond: many who were told the same do not come back together.
[[nodiscard]] std::chrono::milliseconds hinted_delay(Backoff& backoff, std::chrono::milliseconds hint);

// The wait after the `times`th infrastructure error of one event in a row (1: the first): longer each time, up to half
// a minute, and never shorter than the error's own hint.
[[nodiscard]] std::chrono::milliseconds infrastructure_delay(Backoff& backoff, const Error& error, std::uint32_t times);

}  // namespace millrace
