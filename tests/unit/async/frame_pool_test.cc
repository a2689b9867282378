#include "async/frame_pool.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "async/task.h"

namespace millrace {
namespace {

TEST(FramePool, HandsOutAgainWhatWasGivenBackOfASize) {
  if (!FramePool::kKeeps) GTEST_SKIP() << "with a sanitizer everything is the heap's";
  void* block = FramePool::take(130);
  std::memset(block, 1, 130);
  FramePool::give_back(block, 130);
  void* other = FramePool::take(300);
  EXPECT_NE(other, block) << "of another size";
  void* again = FramePool::take(190);
  EXPECT_EQ(again, block) << "of the same step of sizes";
  void* fresh = FramePool::take(190);
  EXPECT_NE(fresh, block);
  FramePool::give_back(fresh, 190);
  FramePool::give_back(again, 190);
  FramePool::give_back(other, 300);
}

TEST(FramePool, GivesDistinctMemoryOfEverySizeAsked) {
  std::set<void*> blocks;
  std::vector<std::pair<void*, std::size_t>> taken;
  for (int round = 0; round < 3; ++round) {
    for (std::size_t size = 1; size <= FramePool::kBlockBytesMax + 100; size += 7) {
      void* block = FramePool::take(size);
      EXPECT_TRUE(blocks.insert(block).second) << size;
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignof(std::max_align_t), 0U);
      std::memset(block, static_cast<int>(size % 251), size);
      taken.emplace_back(block, size);
    }
    for (const auto& [block, size] : taken) {
      const auto* bytes = static_cast<unsigned char*>(block);
      ASSERT_EQ(bytes[0], size % 251);
      ASSERT_EQ(bytes[size - 1], size % 251);
      FramePool::give_back(block, size);
    }
    taken.clear();
    blocks.clear();
  }
}

TEST(FramePool, KeepsNoMoreThanItsBound) {
  if (!FramePool::kKeeps) GTEST_SKIP() << "with a sanitizer everything is the heap's";
  // On a thread of its own, which keeps nothing yet.
  std::thread([] {
    constexpr std::size_t kSize = 1024;
    constexpr std::size_t kKept = FramePool::kKeptBytesMax / kSize;
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < 2 * kKept; ++i) blocks.push_back(FramePool::take(kSize));
    for (void* block : blocks) FramePool::give_back(block, kSize);
    EXPECT_EQ(FramePool::kept_bytes(), FramePool::kKeptBytesMax);
    for (std::size_t i = 0; i < kKept; ++i) EXPECT_EQ(FramePool::take(kSize), blocks[kKept - 1 - i]);
    EXPECT_EQ(FramePool::kept_bytes(), 0U);
    for (std::size_t i = 0; i < kKept; ++i) FramePool::give_back(blocks[i], kSize);

    void* large = FramePool::take(FramePool::kBlockBytesMax + 1);
    const std::size_t before = FramePool::kept_bytes();
    FramePool::give_back(large, FramePool::kBlockBytesMax + 1);
    EXPECT_EQ(FramePool::kept_bytes(), before);
  }).join();
}

TEST(FramePool, TakesWhatAnotherThreadMade) {
  void* block = nullptr;
  std::thread([&block] {
    block = FramePool::take(100);
    std::memset(block, 7, 100);
  }).join();
  EXPECT_EQ(static_cast<unsigned char*>(block)[99], 7);
  FramePool::give_back(block, 100);
}

// Not inlined: a compiler that sees all of a task may do without its frame.
[[gnu::noinline]] Task<int> seven() {
  co_return 7;
}

TEST(FramePool, HoldsTheFramesOfTasks) {
  if (!FramePool::kKeeps) GTEST_SKIP() << "with a sanitizer everything is the heap's";
  {
    auto first = seven();
  }
  const std::size_t before = FramePool::kept_bytes();
  {
    auto second = seven();
    EXPECT_LT(FramePool::kept_bytes(), before);
  }
  EXPECT_EQ(FramePool::kept_bytes(), before);
}

TEST(FramePool, ServesSharedPointersAndNodes) {
  const auto shared = std::allocate_shared<int>(FramePoolAllocator<int>(), 5);
  EXPECT_EQ(*shared, 5);
  std::map<int, int, std::less<>, FramePoolAllocator<std::pair<const int, int>>> map;
  for (int i = 0; i < 1000; ++i) map[i] = i;
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(map.at(i), i);
}

}  // namespace
}  // namespace millrace
