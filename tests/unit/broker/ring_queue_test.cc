#include "broker/ring_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <random>

namespace millrace {
namespace {

TEST(RingQueue, DoesWhatADequeDoes) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  RingQueue<std::uint64_t> queue;
  std::deque<std::uint64_t> model;
  for (std::uint64_t step = 0; step < 50'000; ++step) {
    switch (random() % (step / 5000 % 2 == 0 ? 4 : 8)) {  // it grows and shrinks in turns
      case 0:
      case 1:
        queue.push_back(step);
        model.push_back(step);
        break;
      case 2:
        queue.push_front(step);
        model.push_front(step);
        break;
      case 3: {
        const std::uint64_t victim = model.empty() ? 7 : model[random() % model.size()];
        queue.erase(victim);
        std::erase(model, victim);
        break;
      }
      default:
        if (model.empty()) break;
        ASSERT_EQ(queue.front(), model.front());
        queue.pop_front();
        model.pop_front();
    }
    ASSERT_EQ(queue.size(), model.size());
    ASSERT_EQ(queue.empty(), model.empty());
    if (!model.empty()) {
      const std::size_t at = random() % model.size();
      ASSERT_EQ(queue[at], model[at]);
    }
  }
}

TEST(RingQueue, EraseTakesOneAndLeavesTheOthersInOrder) {
  RingQueue<int> queue;
  for (const int each : {1, 2, 3, 2}) queue.push_back(each);
  queue.erase(2);
  queue.erase(9);
  ASSERT_EQ(queue.size(), 3U);
  EXPECT_EQ(queue[0], 1);
  EXPECT_EQ(queue[1], 3);
  EXPECT_EQ(queue[2], 2);
}

TEST(RingQueue, LetsGoOfWhatIsTakenOut) {
  RingQueue<std::shared_ptr<int>> queue;
  const auto value = std::make_shared<int>(1);
  for (int i = 0; i < 3000; ++i) queue.push_back(value);
  for (int i = 0; i < 3000; ++i) queue.pop_front();
  EXPECT_EQ(value.use_count(), 1);
  queue.push_back(value);
  queue.clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(value.use_count(), 1);
}

}  // namespace
}  // namespace millrace
