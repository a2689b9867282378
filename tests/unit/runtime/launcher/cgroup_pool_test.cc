#include "runtime/launcher/cgroup_pool.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace millrace::launcher {
namespace {

struct Ledger {
  std::vector<int> made, applied, removed;
  bool refuses_limits = false;
  bool makes_none = false;
  Fate fate_of_good = Fate::reuse;
};

class FakeGroup final : public Group {
 public:
  FakeGroup(Ledger& ledger, int number) : ledger_(ledger), number_(number) { ledger_.made.push_back(number); }

  std::span<const int> tasks() const override { return {}; }
  int born_into() const override { return number_; }
  int memory_event() const override { return -1; }
  bool started() override { return true; }
  GroupUsage usage() const override { return {}; }
  bool populated() const override { return false; }
  void kill_all() override { good_ = false; }
  [[nodiscard]] std::string place() const override { return {}; }
  void retire() override { good_ = false; }

  Result<void> apply(const Limits& limits) {
    ledger_.applied.push_back(number_);
    if (ledger_.refuses_limits || limits.pids == 1) return fail(Errc::invalid_argument, "refused");
    return {};
  }
  Fate reset() { return good_ ? ledger_.fate_of_good : Fate::remove; }
  void remove() { ledger_.removed.push_back(number_); }

 private:
  Ledger& ledger_;
  int number_;
  bool good_ = true;
};

class Pool : public ::testing::Test {
 protected:
  std::unique_ptr<Group> acquire() {
    auto group = pool_.acquire({});
    EXPECT_TRUE(group);
    return group ? std::move(*group) : nullptr;
  }

  Ledger ledger_;
  GroupPool<FakeGroup> pool_{[this]() -> Result<std::unique_ptr<FakeGroup>> {
    if (ledger_.makes_none) return fail(Errc::resource_exhausted, "no more");
    return std::make_unique<FakeGroup>(ledger_, static_cast<int>(ledger_.made.size()));
  }};
};

TEST_F(Pool, HandsOutTheLastReturnedFirst) {
  auto first = acquire();
  auto second = acquire();
  pool_.release(std::move(first));
  while (pool_.tidy()) {
  }
  pool_.release(std::move(second));
  while (pool_.tidy()) {
  }
  EXPECT_EQ(acquire()->born_into(), 1);
}

TEST_F(Pool, RemovesWhatCannotBeResetAndDoesNotReplaceIt) {
  auto group = acquire();
  group->kill_all();
  pool_.release(std::move(group));
  EXPECT_FALSE(pool_.tidy());
  EXPECT_EQ(ledger_.removed, std::vector{0});
  EXPECT_EQ(ledger_.made.size(), 1U);
}

TEST_F(Pool, ReplacesUsedGroupsAheadWhereTheyServeOneRun) {
  pool_.replace_used(true);
  auto group = acquire();
  group->kill_all();
  pool_.release(std::move(group));
  EXPECT_FALSE(pool_.tidy());
  EXPECT_EQ(ledger_.made.size(), 2U);
  EXPECT_EQ(acquire()->born_into(), 1);
  EXPECT_EQ(ledger_.made.size(), 2U);
}

TEST_F(Pool, HoldsNoMoreFreshGroupsThanItsBound) {
  pool_.replace_used(true);
  std::vector<std::unique_ptr<Group>> groups;
  for (std::size_t i = 0; i < kFreshGroupsMax + 4; ++i) groups.push_back(acquire());
  for (auto& group : groups) {
    group->kill_all();
    pool_.release(std::move(group));
  }
  while (pool_.tidy()) {
  }
  EXPECT_EQ(ledger_.removed.size(), kFreshGroupsMax + 4);
  EXPECT_EQ(ledger_.made.size(), 2 * kFreshGroupsMax + 4);
}

TEST_F(Pool, HoldsNoMoreIdleGroupsThanItsBound) {
  std::vector<std::unique_ptr<Group>> groups;
  for (std::size_t i = 0; i < kIdleGroupsMax + 3; ++i) groups.push_back(acquire());
  for (auto& group : groups) pool_.release(std::move(group));
  while (pool_.tidy()) {
  }
  EXPECT_EQ(ledger_.removed.size(), 3U);
}

TEST_F(Pool, KeepsABoundedNumberForLaterAndRemovesTheOldest) {
  ledger_.fate_of_good = Fate::later;
  for (std::size_t i = 0; i < kLaterGroupsMax + 2; ++i) {
    pool_.release(acquire());
    EXPECT_FALSE(pool_.tidy());
  }
  EXPECT_EQ(ledger_.removed, (std::vector{0, 1}));
}

TEST_F(Pool, MakesOneMoreRatherThanResettingWhileSomebodyWaits) {
  for (std::size_t i = 0; i < kReturnedGroupsMax; ++i) pool_.release(acquire());
  EXPECT_EQ(ledger_.made.size(), kReturnedGroupsMax);
  // Too many wait for their reset: one of them is taken.
  pool_.release(acquire());
  EXPECT_EQ(ledger_.made.size(), kReturnedGroupsMax);
}

TEST_F(Pool, RemovesAGroupThatRefusesItsLimitsAndTellsWhy) {
  const auto group = pool_.acquire({.pids = 1});
  ASSERT_FALSE(group);
  EXPECT_EQ(group.error().message, "refused");
  EXPECT_EQ(ledger_.removed, std::vector{0});
}

TEST_F(Pool, TellsWhyNoGroupCouldBeMade) {
  ledger_.makes_none = true;
  const auto group = pool_.acquire({});
  ASSERT_FALSE(group);
  EXPECT_EQ(group.error().message, "no more");
}

}  // namespace
}  // namespace millrace::launcher
