#include "core/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>

namespace millrace {
namespace {

constexpr int kCodes = static_cast<int>(Errc::internal) + 1;

TEST(Error, NamesAreUniqueAndReadBack) {
  std::set<std::string_view> names;
  for (int i = 0; i < kCodes; ++i) {
    const auto code = static_cast<Errc>(i);
    EXPECT_TRUE(names.insert(name_of(code)).second) << name_of(code);
    EXPECT_EQ(errc_from_name(name_of(code)), code);
  }
}

TEST(Error, AnUnknownNameIsInternal) {
  EXPECT_EQ(errc_from_name("invented_later"), Errc::internal);
  EXPECT_EQ(errc_from_name(""), Errc::internal);
  EXPECT_FALSE(retryable(Errc::internal));
}

TEST(Error, RetryableIsWhatMayPassByItself) {
  const std::set<Errc> expected{Errc::aborted, Errc::resource_exhausted, Errc::no_space, Errc::deadline_exceeded,
                                Errc::unavailable};
  for (int i = 0; i < kCodes; ++i) {
    const auto code = static_cast<Errc>(i);
    EXPECT_EQ(retryable(code), expected.contains(code)) << name_of(code);
  }
}

TEST(Error, ContextGoesInFrontAndKeepsTheRest) {
  const Error error{.code = Errc::unavailable, .message = "connection refused", .retry_after = std::chrono::seconds(2)};
  const Error outer = error.with("publish to fn.a");
  EXPECT_EQ(outer.message, "publish to fn.a: connection refused");
  EXPECT_EQ(outer.code, Errc::unavailable);
  EXPECT_EQ(outer.retry_after, std::chrono::seconds(2));
}

TEST(Error, FailMakesTheFailedSideOfAnyResult) {
  const Result<int> number = fail(Errc::not_found, "no such number");
  ASSERT_FALSE(number);
  EXPECT_EQ(number.error().code, Errc::not_found);
  const Result<void> nothing = fail(number.error());
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().message, "no such number");
}

TEST(Error, ErrnoBecomesACodeAndASentence) {
  const Error error = error_from_errno(ENOENT, "open 'a'");
  EXPECT_EQ(error.code, Errc::not_found);
  EXPECT_EQ(error.message, "open 'a': No such file or directory");
  EXPECT_EQ(error_from_errno(EEXIST, "").code, Errc::already_exists);
  EXPECT_EQ(error_from_errno(EACCES, "").code, Errc::permission_denied);
  EXPECT_EQ(error_from_errno(ENOSPC, "").code, Errc::no_space);
  EXPECT_EQ(error_from_errno(EFBIG, "").code, Errc::too_large);
  EXPECT_EQ(error_from_errno(EMFILE, "").code, Errc::resource_exhausted);
  EXPECT_EQ(error_from_errno(EINVAL, "").code, Errc::invalid_argument);
  EXPECT_EQ(error_from_errno(ETIMEDOUT, "").code, Errc::deadline_exceeded);
  EXPECT_EQ(error_from_errno(ECONNREFUSED, "").code, Errc::unavailable);
  EXPECT_EQ(error_from_errno(ENOSYS, "").code, Errc::unimplemented);
  EXPECT_EQ(error_from_errno(ECANCELED, "").code, Errc::cancelled);
  EXPECT_EQ(error_from_errno(ECHILD, "").code, Errc::internal);
  EXPECT_NE(error_from_errno(99'999, "it").message, "it: ");
}

}  // namespace
}  // namespace millrace
