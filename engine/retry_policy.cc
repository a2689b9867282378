#include "engine/retry_policy.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr int kPermanentExitFirst = 64;  // EX_USAGE
constexpr int kPermanentExitLast = 78;   // EX_CONFIG
constexpr std::uint32_t kResourceKillAttemptsMax = 2;
constexpr std::chrono::milliseconds kInfrastructureBase{500};
constexpr std::chrono::milliseconds kInfrastructureCap{30'000};
constexpr int kHintSpread = 4;  // a hint is overstayed by up to this part of it

}  // namespace

bool is_final(const FunctionSpec& function, AttemptOutcome outcome, int exit_code, std::uint32_t failures) {
  const std::uint32_t attempts_max = function.retries + 1;
  switch (outcome) {
    case AttemptOutcome::succeeded:
    case AttemptOutcome::cancelled: return true;
    case AttemptOutcome::lost: return false;  // counted as a loss, not as a failure
    case AttemptOutcome::out_of_memory:
    case AttemptOutcome::output_too_large: return failures >= std::min(kResourceKillAttemptsMax, attempts_max);
    case AttemptOutcome::failed:
      if (exit_code >= kPermanentExitFirst && exit_code <= kPermanentExitLast) return true;
      return failures >= attempts_max;
    case AttemptOutcome::timed_out: return failures >= attempts_max;
  }
  return true;
}

bool is_permanent(const Error& error) {
  return !retryable(error.code) && error.code != Errc::cancelled;
}

std::chrono::milliseconds retry_delay(Backoff& backoff, const FunctionSpec& function, std::uint32_t failures) {
  return backoff.delay(function.retry_base, function.retry_cap, failures);
}

std::chrono::milliseconds hinted_delay(Backoff& backoff, std::chrono::milliseconds hint) {
  return hint + backoff.delay(hint / kHintSpread, kInfrastructureCap, 1);
}

std::chrono::milliseconds infrastructure_delay(Backoff& backoff, const Error& error, std::uint32_t times) {
  // Never at once: what is away now is still away in a microsecond.
  const auto delay = kInfrastructureBase + backoff.delay(kInfrastructureBase, kInfrastructureCap, times);
  if (error.retry_after.count() <= 0) return delay;
  return std::max(delay, hinted_delay(backoff, error.retry_after));
}

}  // namespace millrace
