// A segment that is read in parts, with batches smaller and larger than a part.
#include "broker/log/segment_window.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "broker/log/batch_reader.h"
#include "broker/log/record_bodies.h"
#include "broker/log/recovery.h"
#include "broker/log/segment_format.h"
#include "tests/support/fake_log_files.h"

namespace millrace::wal {
namespace {

constexpr std::size_t kSegment = 24 << 20;
constexpr std::chrono::system_clock::time_point kNow{std::chrono::seconds(1'700'000'000)};

// The first segment of a log with one topic and one group, written by hand.
class Written {
 public:
  Written() {
    begin();
    std::string body;
    encode(body, TopicBody{.lease_ms = 1000, .bytes_max = 1 << 30, .messages_max = 1 << 30, .name = "t"});
    append_record(batch_, {.type = RecordType::topic}, body);
    body.clear();
    encode(body, GroupBody{.says = GroupBody::Says::added, .name = "g"});
    append_record(batch_, {.type = RecordType::group}, body);
    finish();
  }

  void begin() { batch_.clear(); }
  void add(std::size_t event_bytes) {
    const std::string event(event_bytes, 'x');
    const std::string id = std::to_string(messages_);
    std::string body;
    encode(body, MessageBody{.open = 1, .published_ms = 1'699'999'999'000, .id = id, .event = event});
    append_record(batch_, {.type = RecordType::message, .seq = messages_++}, body);
  }
  // Without `end` it is what a crash leaves of a batch.
  void finish(bool end = true) {
    seal_batch(batch_, ++last_batch_, header_.seed(), end);
    bytes_ += batch_;
  }

  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::uint64_t messages() const { return messages_; }
  [[nodiscard]] std::size_t batch_bytes() const { return batch_.size(); }

  Result<Recovered> recover_it(bool look_only = true) const {
    std::string bytes = bytes_;
    bytes.resize(kSegment, '\0');
    auto files = std::make_shared<FakeLogFiles>();
    files->set_contents(segment_name(1), std::move(bytes));
    return recover(*files, {.segment_bytes = kSegment, .now = {}, .wall_now = kNow, .look_only = look_only});
  }

 private:
  SegmentHeader header_{.epoch = 1, .oldest = 1, .segment_bytes = kSegment, .salt = 7, .id_key = {1, 2}};
  std::string bytes_ = encode_header(header_);
  std::string batch_;
  std::uint64_t last_batch_ = 0;
  std::uint64_t messages_ = 0;
};

void fill(Written& log, std::mt19937& random) {
  while (log.size() < kSegment / 2) {
    log.begin();
    // Now and then a batch of several parts of the segment.
    const std::size_t records = random() % 8 == 0 ? 300 : 1 + random() % 20;
    for (std::size_t i = 0; i < records; ++i) log.add(random() % (random() % 2 == 0 ? 200 : 30'000));
    log.finish();
  }
}

TEST(SegmentWindow, EveryBatchIsFoundWhateverItsSize) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 5; ++round) {
    Written log;
    fill(log, random);
    const auto recovered = log.recover_it();
    ASSERT_TRUE(recovered) << recovered.error().message;
    EXPECT_EQ(recovered->messages, log.messages());
    EXPECT_EQ(recovered->segments.at(1).used_bytes, log.size());
    EXPECT_EQ(recovered->dropped_bytes, 0U);
  }
}

TEST(SegmentWindow, ABatchThatIsLargerThanAPartIsReadWhole) {
  Written log;
  log.begin();
  for (int i = 0; i < 10; ++i) log.add(1'000'000);
  log.finish();
  EXPECT_GT(log.batch_bytes(), 4 * SegmentWindow::kBytes);
  const auto recovered = log.recover_it();
  ASSERT_TRUE(recovered) << recovered.error().message;
  EXPECT_EQ(recovered->messages, 10U);
}

TEST(SegmentWindow, WhatIsLeftOfABatchIsFoundOverSeveralParts) {
  Written log;
  log.begin();
  log.add(100);
  log.finish();
  const std::size_t whole = log.size();
  log.begin();
  for (int i = 0; i < 9; ++i) log.add(1'000'000);
  log.finish(false);
  const auto recovered = log.recover_it(false);
  ASSERT_TRUE(recovered) << recovered.error().message;
  EXPECT_EQ(recovered->messages, 1U);
  EXPECT_EQ(recovered->segments.at(1).used_bytes, whole);
  EXPECT_EQ(recovered->dropped_bytes, log.size() - whole);
}

TEST(SegmentWindow, AFinishedBatchFarBehindABrokenOneIsDamage) {
  Written log;
  const std::size_t whole = log.size();
  log.begin();
  for (int i = 0; i < 9; ++i) log.add(1'000'000);
  log.finish(false);
  log.begin();
  log.add(10);
  log.finish();
  const auto recovered = log.recover_it();
  ASSERT_FALSE(recovered);
  EXPECT_EQ(recovered.error().code, Errc::data_loss);
  EXPECT_NE(recovered.error().message.find("at byte " + std::to_string(whole)), std::string::npos)
      << recovered.error().message;
}

TEST(SegmentWindow, TellsAReadThatFails) {
  auto files = std::make_shared<FakeLogFiles>();
  files->set_contents("file", std::string(3 * SegmentWindow::kBytes, 'x'));
  auto file = files->open("file");
  ASSERT_TRUE(file);
  SegmentWindow::Buffer buffer;
  SegmentWindow window(**file, 0, 3 * SegmentWindow::kBytes, buffer);
  ASSERT_TRUE(window.move_to(0));
  EXPECT_EQ(window.bytes().size(), SegmentWindow::kBytes);
  EXPECT_FALSE(window.is_last());
  ASSERT_TRUE(window.move_to(100));
  EXPECT_EQ(window.from(), 100U);
  EXPECT_EQ(window.bytes().size(), 2 * (SegmentWindow::kBytes - 100)) << "twice what was kept";
  ASSERT_TRUE(window.move_to(SegmentWindow::kBytes));
  EXPECT_FALSE(window.is_last());
  ASSERT_TRUE(window.move_to(2 * SegmentWindow::kBytes));
  EXPECT_TRUE(window.is_last());
  EXPECT_EQ(window.bytes().size(), SegmentWindow::kBytes);
  files->set_fault([](FakeLogFiles::Operation operation, const std::string&) -> std::optional<Error> {
    if (operation != FakeLogFiles::Operation::read) return std::nullopt;
    return Error{.code = Errc::unavailable, .message = "broken", .retry_after = {}};
  });
  SegmentWindow other(**file, 0, 3 * SegmentWindow::kBytes, buffer);
  EXPECT_FALSE(other.move_to(0));
}

}  // namespace
}  // namespace millrace::wal
