#include "broker/seq_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace millrace {
namespace {

TEST(SeqTable, BehavesLikeAMapUnderAnyOperations) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  SeqTable<int> table;
  std::map<std::uint64_t, int> model;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t seq = random() % 500 * (random() % 5 == 0 ? 1000 : 1);
    switch (random() % 4) {
      case 0:
      case 1:
        table.insert(seq, i);
        model[seq] = i;
        break;
      case 2:
        table.erase(seq);
        model.erase(seq);
        break;
      default: {
        const auto found = model.find(seq);
        const int* value = table.find(seq);
        ASSERT_EQ(value != nullptr, found != model.end());
        if (value != nullptr) ASSERT_EQ(*value, found->second);
        const auto after = model.lower_bound(seq);
        const auto next = table.next(seq);
        ASSERT_EQ(next.has_value(), after != model.end());
        if (next) ASSERT_EQ(*next, after->first);
      }
    }
    ASSERT_EQ(table.size(), model.size());
  }
}

TEST(SeqTable, PointersStayWhileNeighboursComeAndGo) {
  SeqTable<int> table;
  table.insert(5, 50);
  const int* kept = table.find(5);
  for (std::uint64_t seq = 0; seq < 200; ++seq) {
    if (seq != 5) table.insert(seq, 1);
  }
  for (std::uint64_t seq = 0; seq < 200; ++seq) {
    if (seq != 5) table.erase(seq);
  }
  EXPECT_EQ(table.find(5), kept);
  EXPECT_EQ(*kept, 50);
  EXPECT_EQ(table.next(0), 5U);
  EXPECT_FALSE(table.next(6));
}

}  // namespace
}  // namespace millrace
