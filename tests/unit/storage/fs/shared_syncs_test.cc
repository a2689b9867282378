#include "storage/fs/shared_syncs.h"

#include <gtest/gtest.h>

#include <atomic>

#include "async/uv_event_loop.h"
#include "tests/support/run_task.h"
#include "tests/unit/storage/fs/disk.h"

namespace millrace::test {
namespace {

class SharedSyncsTest : public testing::Test {
 protected:
  Task<void> sync_one(fs::BucketPtr bucket, fs::SharedSyncs::After after = {}) {
    auto synced = co_await syncs_.sync(std::move(bucket), syncs_.failures(), std::move(after));
    if (synced) ++synced_;
  }

  // Syncing by a descriptor that stands for a name only is an error.
  fs::BucketPtr bad_bucket() {
    return std::make_shared<fs::Bucket>("box", disk_.root() + "/box",
                                        Fd(open(disk_.path("").c_str(), O_PATH | O_CLOEXEC)), disk_.box()->device(), 0);
  }

  Disk disk_;
  UvEventLoop loop_;
  BlockingPool pool_{loop_, {.threads = 2}};
  Metrics metrics_;
  Counter& total_ =
      metrics_.counter("millrace_storage_syncs_total", "Syncs of a file system, each for all who waited.");
  fs::SharedSyncs syncs_{loop_, pool_, metrics_};
  int synced_ = 0;
};

TEST_F(SharedSyncsTest, AllWhoComeWhileASyncRunsShareTheNext) {
  TaskGroup group(loop_);
  for (int i = 0; i < 50; ++i) group.spawn(sync_one(disk_.box()));
  run_task(loop_, group.join());
  EXPECT_EQ(synced_, 50);
  EXPECT_EQ(total_.value(), 2U);
}

TEST_F(SharedSyncsTest, WhatIsToFollowRunsOnceForEach) {
  std::atomic<int> followed = 0;
  TaskGroup group(loop_);
  for (int i = 0; i < 10; ++i) group.spawn(sync_one(disk_.box(), [&] { ++followed; }));
  run_task(loop_, group.join());
  EXPECT_EQ(followed, 10);
}

TEST_F(SharedSyncsTest, WhatIsToFollowRunsAlsoWhenNobodyWaitsAnyMore) {
  std::atomic<int> followed = 0;
  {
    TaskGroup group(loop_);
    group.spawn(sync_one(disk_.box(), [&] { ++followed; }));
  }
  run_task(loop_, sync_one(disk_.box()));  // comes after it
  EXPECT_EQ(followed, 1);
  EXPECT_EQ(synced_, 1) << "the second alone was still there to be told";
}

TEST_F(SharedSyncsTest, AFailureIsToldToAllWhoWaitedAndNothingFollows) {
  std::atomic<int> followed = 0;
  TaskGroup group(loop_);
  for (int i = 0; i < 10; ++i) group.spawn(sync_one(bad_bucket(), [&] { ++followed; }));
  run_task(loop_, group.join());
  EXPECT_EQ(synced_, 0);
  EXPECT_EQ(followed, 0);
}

TEST_F(SharedSyncsTest, AFileSystemIsSyncedByTheDescriptorThatCameFirst) {
  run_task(loop_, sync_one(disk_.box()));
  EXPECT_TRUE(run_task(loop_, syncs_.sync(bad_bucket(), syncs_.failures()))) << "another, of the same file system";
  EXPECT_EQ(total_.value(), 2U);
}

// The kernel tells an error of writing once: the sync that was told of it may have been another's.
TEST_F(SharedSyncsTest, AFailureIsAlsoOneForWhoeverWroteBeforeIt) {
  const auto before = syncs_.failures();
  run_task(loop_, sync_one(bad_bucket()));
  const auto early = run_task(loop_, syncs_.sync(disk_.box(), before));
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().code, Errc::unavailable) << "tried again, it writes anew";
  EXPECT_TRUE(run_task(loop_, syncs_.sync(disk_.box(), syncs_.failures())));
}

}  // namespace
}  // namespace millrace::test
