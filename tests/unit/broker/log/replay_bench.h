// A replay to which a test gives records one by one, as they would stand in segments 1 and 2.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string_view>

#include "broker/log/replay.h"

namespace millrace::wal {

class ReplayBench : public testing::Test {
 protected:
  static constexpr RecordPlace kPlace{.epoch = 2, .offset = 4096};
  static constexpr std::chrono::system_clock::time_point kNow{std::chrono::seconds(1'700'000'000)};

  void apply(const RecordHead& head, std::string_view body) {
    const Record record{.head = head, .body = body, .length = static_cast<std::uint32_t>(40 + body.size())};
    const auto applied = replay_.apply(record, kPlace);
    ASSERT_TRUE(applied) << applied.error().message;
  }

  TopicTable topics_{1000};
  Replay replay_{topics_, {1, 2}, kNow, EventLoop::TimePoint()};
};

}  // namespace millrace::wal
