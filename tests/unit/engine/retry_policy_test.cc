#include "engine/retry_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace millrace {
namespace {

using namespace std::chrono_literals;

FunctionSpec with_retries(std::uint32_t retries) {
  FunctionSpec function;
  function.retries = retries;
  return function;
}

TEST(RetryPolicy, AFailingFunctionHasOneAttemptMoreThanRetries) {
  for (const auto outcome : {AttemptOutcome::failed, AttemptOutcome::timed_out}) {
    EXPECT_TRUE(is_final(with_retries(0), outcome, 1, 1));
    EXPECT_FALSE(is_final(with_retries(1), outcome, 1, 1));
    EXPECT_TRUE(is_final(with_retries(1), outcome, 1, 2));
    EXPECT_FALSE(is_final(with_retries(3), outcome, 1, 3));
    EXPECT_TRUE(is_final(with_retries(3), outcome, 1, 4));
    EXPECT_TRUE(is_final(with_retries(3), outcome, 1, 5)) << "fewer retries since the last attempt";
  }
}

TEST(RetryPolicy, ExitCodes64To78ArePermanentAndTheirNeighboursAreNot) {
  const FunctionSpec function = with_retries(3);
  for (int code = 0; code < 256; ++code) {
    EXPECT_EQ(is_final(function, AttemptOutcome::failed, code, 1), code >= 64 && code <= 78) << code;
  }
}

TEST(RetryPolicy, AnExitCodeOfAProcessThatWasKilledSaysNothing) {
  EXPECT_FALSE(is_final(with_retries(3), AttemptOutcome::timed_out, 65, 1));
  EXPECT_FALSE(is_final(with_retries(3), AttemptOutcome::out_of_memory, 65, 1));
}

TEST(RetryPolicy, AResourceKillHasTwoAttemptsAtMost) {
  for (const auto outcome : {AttemptOutcome::out_of_memory, AttemptOutcome::output_too_large}) {
    EXPECT_TRUE(is_final(with_retries(0), outcome, 0, 1));
    EXPECT_FALSE(is_final(with_retries(1), outcome, 0, 1));
    EXPECT_TRUE(is_final(with_retries(1), outcome, 0, 2));
    EXPECT_FALSE(is_final(with_retries(100), outcome, 0, 1));
    EXPECT_TRUE(is_final(with_retries(100), outcome, 0, 2));
  }
}

TEST(RetryPolicy, ALossIsNeverTheLastByItself) {
  EXPECT_FALSE(is_final(with_retries(0), AttemptOutcome::lost, 0, 0));
  EXPECT_FALSE(is_final(with_retries(0), AttemptOutcome::lost, 64, std::numeric_limits<std::uint32_t>::max()));
}

TEST(RetryPolicy, SuccessAndCancelAreFinal) {
  EXPECT_TRUE(is_final(with_retries(3), AttemptOutcome::succeeded, 0, 0));
  EXPECT_TRUE(is_final(with_retries(3), AttemptOutcome::cancelled, 0, 0));
}

TEST(RetryPolicy, AnErrorThatTimeCannotHealIsPermanent) {
  for (const auto code : {Errc::invalid_argument, Errc::not_found, Errc::permission_denied, Errc::failed_precondition,
                          Errc::too_large, Errc::data_loss, Errc::unimplemented, Errc::internal}) {
    EXPECT_TRUE(is_permanent({.code = code, .message = {}})) << name_of(code);
  }
  for (const auto code : {Errc::unavailable, Errc::no_space, Errc::resource_exhausted, Errc::deadline_exceeded,
                          Errc::aborted, Errc::cancelled}) {
    EXPECT_FALSE(is_permanent({.code = code, .message = {}})) << name_of(code);
  }
}

// Full jitter: anything from 0 to the ceiling, and over many seeds all of that range.
class RetryDelay : public testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Failures, RetryDelay, testing::Values(1U, 2U, 3U, 4U, 8U, 1000U));

TEST_P(RetryDelay, IsDrawnFromTheWholeRangeUpToTheCeiling) {
  FunctionSpec function;
  function.retry_base = 100ms;
  function.retry_cap = 1000ms;
  const std::uint32_t failures = GetParam();
  const auto ceiling = std::min<std::chrono::milliseconds>(100ms * (1 << std::min(failures - 1, 10U)), 1000ms);
  auto least = ceiling;
  auto most = 0ms;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Backoff backoff(seed);
    const auto delay = retry_delay(backoff, function, failures);
    ASSERT_GE(delay, 0ms) << "seed " << seed;
    ASSERT_LE(delay, ceiling) << "seed " << seed;
    least = std::min(least, delay);
    most = std::max(most, delay);
  }
  EXPECT_LT(least, ceiling / 10);
  EXPECT_GT(most, ceiling * 9 / 10);
}

TEST(RetryPolicy, NoBaseMeansNoDelay) {
  FunctionSpec function;
  function.retry_base = 0ms;
  Backoff backoff(1);
  EXPECT_EQ(retry_delay(backoff, function, 5), 0ms);
}

// Never at once, then from the whole range up to a ceiling that doubles until half a minute.
class InfrastructureDelay : public testing::TestWithParam<std::pair<std::uint32_t, std::chrono::milliseconds>> {};
INSTANTIATE_TEST_SUITE_P(Times, InfrastructureDelay,
                         testing::Values(std::pair(1U, 500ms), std::pair(2U, 1000ms), std::pair(3U, 2000ms),
                                         std::pair(6U, 16'000ms), std::pair(7U, 30'000ms), std::pair(1000U, 30'000ms)));

TEST_P(InfrastructureDelay, GrowsWithEveryTimeUpToItsCap) {
  const auto [times, ceiling] = GetParam();
  auto least = 60'000ms;
  auto most = 0ms;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Backoff backoff(seed);
    const auto delay = infrastructure_delay(backoff, {.code = Errc::unavailable, .message = {}}, times);
    ASSERT_GE(delay, 500ms) << "seed " << seed;
    ASSERT_LE(delay, 500ms + ceiling) << "seed " << seed;
    least = std::min(least, delay);
    most = std::max(most, delay);
  }
  EXPECT_LT(least, 500ms + ceiling / 10);
  EXPECT_GT(most, 500ms + ceiling * 9 / 10);
}

TEST(RetryPolicy, AHintIsHonouredAndSpread) {
  for (const auto hint : {1ms, 4000ms, 3'600'000ms}) {
    const auto spread = std::min<std::chrono::milliseconds>(hint / 4, 30s);
    auto most = 0ms;
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
      Backoff backoff(seed);
      const auto delay = hinted_delay(backoff, hint);
      ASSERT_GE(delay, hint) << "seed " << seed;
      ASSERT_LE(delay, hint + spread) << "seed " << seed;
      most = std::max(most, delay);
    }
    EXPECT_GE(most, hint + spread * 9 / 10) << hint.count();
  }
}

TEST(RetryPolicy, AnErrorsHintIsTheLeastAndTheWaitGrowsBeyondIt) {
  auto most = 0ms;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    Backoff backoff(seed);
    const Error error{.code = Errc::unavailable, .message = {}, .retry_after = 1000ms};
    ASSERT_GE(infrastructure_delay(backoff, error, 1), 1000ms) << "seed " << seed;
    most = std::max(most, infrastructure_delay(backoff, error, 20));
  }
  EXPECT_GT(most, 25s);
}

}  // namespace
}  // namespace millrace
