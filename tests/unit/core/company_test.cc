#include "core/company.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

using namespace std::chrono_literals;

constexpr Company::TimePoint kStart{1h};

TEST(Company, TheFirstFewNeverWait) {
  Company company;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(company.arrive(kStart), 0ms) << i;
  EXPECT_EQ(company.arrive(kStart), Company::kLinger);
}

TEST(Company, WhoComesAloneNeverWaits) {
  Company company;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(company.arrive(kStart + i * 3ms), 0ms) << "one every 3 ms, the " << i << "th";
}

TEST(Company, AmongManyEachWaits) {
  Company company;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(company.arrive(kStart + i * 2ms), 0ms);
  for (int i = 4; i < 100; ++i) EXPECT_EQ(company.arrive(kStart + i * 2ms), Company::kLinger) << "one every 2 ms";
}

TEST(Company, IsForgottenAfterAPause) {
  Company company;
  for (int i = 0; i < 10; ++i) (void)company.arrive(kStart);
  EXPECT_EQ(company.arrive(kStart + 10ms), Company::kLinger);
  EXPECT_EQ(company.arrive(kStart + 21ms), 0ms);
}

}  // namespace
}  // namespace millrace
