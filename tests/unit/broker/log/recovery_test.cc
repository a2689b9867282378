#include "broker/log/recovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "broker/log/bytes.h"
#include "broker/log/segment_format.h"
#include "tests/unit/broker/log/log_bench.h"

namespace millrace::wal {
namespace {

using testing::HasSubstr;

// Where each batch of a segment ends, and how many messages stand before that.
std::vector<std::pair<std::size_t, int>> batch_ends(const std::string& bytes) {
  const auto header = decode_header(bytes);
  std::vector<std::pair<std::size_t, int>> ends;
  int messages = 0;
  for (std::size_t at = kSegmentHeaderBytes; at < bytes.size();) {
    const auto record = read_record(std::string_view(bytes).substr(at), header->seed());
    if (!record) break;
    at += padded(record->length);
    if (record->head.type == RecordType::message) ++messages;
    if ((record->head.flags & kEndOfBatch) != 0) ends.emplace_back(at, messages);
  }
  return ends;
}

// A log with three full segments and a part of a fourth, nothing in them settled; the fifth is empty.
std::shared_ptr<FakeLogFiles> filled_log(int& messages) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  messages = 0;
  const auto in_fourth = [&] {
    return bench.segments().size() >= 5 && batch_ends(bench.files->contents("log-00000004")).size() >= 5;
  };
  for (; !in_fourth(); ++messages) EXPECT_TRUE(bench.publish(std::to_string(messages), std::string(40'000, 'x')));
  bench.drop();
  return bench.files;
}

TEST(Recovery, EmptyDirectoryBecomesAnEmptyLogOfTwoSegments) {
  LogBench bench;
  bench.must_open();
  EXPECT_EQ(bench.segments(), (std::vector<std::string>{"log-00000001", "log-00000002"}));
  const auto topics = bench.await(bench.broker->topics());
  EXPECT_TRUE(topics && topics->empty());
}

TEST(Recovery, EveryMessageOfSeveralSegmentsComesBack) {
  int messages = 0;
  LogBench bench(filled_log(messages));
  bench.must_open();
  EXPECT_EQ(bench.lag().pending, static_cast<std::uint64_t>(messages));
  EXPECT_EQ(bench.drain().size(), static_cast<std::size_t>(messages));
}

TEST(Recovery, TruncationAnywhereInTheNewestSegmentLosesOnlyTheUnfinishedBatch) {
  LogBench writer;
  writer.must_open();
  writer.make_topic();
  for (int i = 0; i < 4; ++i)
    ASSERT_TRUE(writer.publish(std::to_string(i), std::string(static_cast<std::size_t>(i) * 30, 'x')));
  writer.drop();
  const std::string whole = writer.files->contents("log-00000001");
  const auto ends = batch_ends(whole);
  ASSERT_EQ(ends.size(), 5U);
  ASSERT_EQ(ends.back().second, 4);
  for (std::size_t cut = kSegmentHeaderBytes; cut <= ends.back().first; ++cut) {
    std::string torn = whole;
    std::fill(torn.begin() + static_cast<std::ptrdiff_t>(cut), torn.end(), '\0');
    std::fill_n(torn.begin() + static_cast<std::ptrdiff_t>(cut), 64, '\xee');  // what was there before
    const auto files = std::make_shared<FakeLogFiles>();
    files->set_contents("log-00000001", torn);
    int expected = 0;
    for (const auto& [end, messages] : ends) {
      if (end <= padded(cut)) expected = messages;  // padding carries nothing
    }
    const auto recovered = recover(*files, {.segment_bytes = kMiB, .now = {}, .wall_now = {}});
    ASSERT_TRUE(recovered) << "cut at " << cut << ": " << recovered.error().message;
    ASSERT_LE(recovered->messages, static_cast<std::uint64_t>(expected)) << "cut at " << cut;
    ASSERT_GE(recovered->messages + (padded(cut) != cut ? 1 : 0), static_cast<std::uint64_t>(expected))
        << "cut at " << cut;
  }
}

TEST(Recovery, LogGoesOnAfterATornEnd) {
  LogBench writer;
  writer.must_open();
  writer.make_topic();
  ASSERT_TRUE(writer.publish("0", "kept"));
  std::vector<Outgoing> batch;
  for (int i = 1; i < 9; ++i) batch.push_back(LogBench::message(std::to_string(i), std::string(600, 'x')));
  writer.await(writer.broker->publish("t", std::move(batch)));
  writer.drop();
  std::string bytes = writer.files->contents("log-00000001");
  const auto ends = batch_ends(bytes);
  const std::size_t start = ends[ends.size() - 2].first;
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(start), 512, '\0');  // the first sector never arrived

  auto files = writer.files->copy();
  files->set_contents("log-00000001", bytes);
  LogBench bench(files);
  bench.must_open();
  EXPECT_EQ(bench.lag().pending, 1U);
  // What is written now is shorter than the rests behind it, which must not look like damage later.
  ASSERT_TRUE(bench.publish("new", "y"));
  bench.reopen();
  EXPECT_EQ(bench.drain(), (std::multiset<std::string>{"0", "new"}));
}

TEST(Recovery, FlippedBitBeforeAConfirmedBatchIsRefusedByNameAndOffset) {
  int messages = 0;
  const auto files = filled_log(messages);
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const std::string name : {"log-00000001", "log-00000002", "log-00000003", "log-00000004"}) {
    const std::string whole = files->contents(name);
    const auto ends = batch_ends(whole);
    ASSERT_GE(ends.size(), 3U) << name;
    // In the newest segment, what was written last cannot be told from an unfinished batch.
    const bool newest = name == "log-00000004";
    const std::size_t limit = newest ? ends[ends.size() - 3].first : ends.back().first;
    for (int i = 0; i < 25; ++i) {
      const std::size_t at = kSegmentHeaderBytes + random() % (limit - kSegmentHeaderBytes);
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << (random() % 8)));
      // Padding is not covered, and does not matter.
      const auto before = batch_ends(whole);
      if (batch_ends(damaged) == before) continue;
      auto copy = files->copy();
      copy->set_contents(name, damaged);
      const auto changes = copy->changes();
      LogBench bench(copy);
      const std::string outcome = bench.open();
      ASSERT_THAT(outcome, HasSubstr("fake/" + name + " is damaged at byte ")) << "bit at " << at;
      ASSERT_EQ(copy->changes(), changes) << "a damaged log must not be touched";
    }
  }
}

TEST(Recovery, ADamagedEndOfASegmentIsRefusedAsThatSegments) {
  int messages = 0;
  const auto files = filled_log(messages);
  for (const std::string name : {"log-00000001", "log-00000002", "log-00000003"}) {
    const std::string whole = files->contents(name);
    const auto ends = batch_ends(whole);
    const std::size_t seal = ends[ends.size() - 2].first;
    ASSERT_EQ(ends.back().first - seal, kRecordHeadBytes) << name << " ends with its seal";
    for (std::size_t at = seal; at < ends.back().first; ++at) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 1);
      auto copy = files->copy();
      copy->set_contents(name, damaged);
      LogBench bench(copy);
      ASSERT_THAT(bench.open(), HasSubstr("fake/" + name + " is damaged at byte " + std::to_string(seal))) << at;
    }
  }
}

TEST(Recovery, DamagedHeaderIsRefused) {
  int messages = 0;
  const auto files = filled_log(messages);
  for (const std::string name : {"log-00000001", "log-00000003", "log-00000005"}) {
    for (const std::size_t at : {0U, 9U, 12U, 30U, 45U, 57U}) {
      std::string damaged = files->contents(name);
      damaged[at] = static_cast<char>(damaged[at] ^ 4);
      auto copy = files->copy();
      copy->set_contents(name, damaged);
      LogBench bench(copy);
      ASSERT_THAT(bench.open(), HasSubstr("fake/" + name)) << at;
    }
  }
}

TEST(Recovery, NewerFormatIsRefusedUntouched) {
  int messages = 0;
  const auto files = filled_log(messages);
  std::string bytes = files->contents("log-00000002");
  bytes[8] = static_cast<char>(kFormatVersion + 1);
  files->set_contents("log-00000002", bytes);
  const auto changes = files->changes();
  LogBench bench(files);
  const std::string outcome = bench.open();
  EXPECT_THAT(outcome, HasSubstr("fake/log-00000002"));
  EXPECT_THAT(outcome, HasSubstr("version " + std::to_string(kFormatVersion + 1)));
  EXPECT_EQ(files->changes(), changes);
}

TEST(Recovery, OlderFormatIsRefusedUntouched) {
  int messages = 0;
  const auto files = filled_log(messages);
  std::string bytes = files->contents("log-00000001");
  bytes[8] = static_cast<char>(kFormatVersionOldest - 1);
  files->set_contents("log-00000001", bytes);
  const auto changes = files->changes();
  LogBench bench(files);
  const std::string outcome = bench.open();
  EXPECT_THAT(outcome, HasSubstr("fake/log-00000001"));
  EXPECT_THAT(outcome, HasSubstr("version " + std::to_string(kFormatVersionOldest - 1)));
  EXPECT_EQ(files->changes(), changes);
}

TEST(Recovery, DirectoryOfSomebodyElseIsRefusedUntouched) {
  LogBench bench;
  bench.files->set_contents("thesis.txt", "for years");
  bench.files->set_contents("spare-tyre.txt", "hello");
  const auto changes = bench.files->changes();
  const std::string outcome = bench.open();
  EXPECT_THAT(outcome, HasSubstr("'spare-tyre.txt' and 1 more"));
  EXPECT_THAT(outcome, HasSubstr("fake/"));
  EXPECT_EQ(bench.files->changes(), changes);
  EXPECT_EQ(bench.files->contents("thesis.txt"), "for years");
}

TEST(Recovery, ForeignFilesBesideALogAreLeftAlone) {
  int messages = 0;
  const auto files = filled_log(messages);
  const std::vector<std::string> foreign{"notes.txt", "spare-tyre.txt", "log-1", "spare-log-", "log-00000001.bak"};
  for (const auto& name : foreign) files->set_contents(name, "mine");
  LogBench bench(files);
  bench.must_open();
  EXPECT_EQ(bench.drain().size(), static_cast<std::size_t>(messages));
  bench.reopen();
  for (const auto& name : foreign) EXPECT_EQ(files->contents(name), "mine") << name;
}

TEST(Recovery, FileSystemOfItsOwnIsAnEmptyDirectory) {
  LogBench bench;
  bench.files->set_contents("lost+found", "");
  EXPECT_EQ(bench.open(), "ok");
}

TEST(Recovery, MissingSegmentIsRefused) {
  int messages = 0;
  const auto files = filled_log(messages);
  for (const std::string name : {"log-00000001", "log-00000002", "log-00000003", "log-00000004"}) {
    auto copy = files->copy();
    copy->forget(name);
    LogBench bench(copy);
    const std::string missing = name == "log-00000004" ? "the segment that goes on, " + name : name;
    EXPECT_THAT(bench.open(), HasSubstr(missing + ", is missing")) << name;
  }
  auto copy = files->copy();
  copy->forget("log-00000005");  // empty: it is made again
  LogBench bench(copy);
  EXPECT_EQ(bench.open(), "ok");
}

TEST(Recovery, ShortenedSegmentIsRefused) {
  int messages = 0;
  const auto files = filled_log(messages);
  files->set_contents("log-00000002", files->contents("log-00000002").substr(0, 500'000));
  LogBench bench(files);
  EXPECT_THAT(bench.open(), HasSubstr("fake/log-00000002 is damaged at byte 500000"));
}

TEST(Recovery, SegmentOfAnotherLogIsRefused) {
  int messages = 0;
  const auto files = filled_log(messages);
  const auto other = filled_log(messages);
  files->set_contents("log-00000002", other->contents("log-00000002"));
  LogBench bench(files);
  EXPECT_THAT(bench.open(), HasSubstr("belongs to another log"));
}

TEST(Recovery, UnreadableDirectoryIsReported) {
  using Operation = FakeLogFiles::Operation;
  int messages = 0;
  const auto files = filled_log(messages);
  for (const auto failing : {Operation::list, Operation::open, Operation::read}) {
    auto copy = files->copy();
    copy->set_fault([failing](Operation operation, const std::string&) -> std::optional<Error> {
      if (operation != failing) return std::nullopt;
      return Error{.code = Errc::unavailable, .message = "planned", .retry_after = {}};
    });
    LogBench bench(copy);
    EXPECT_EQ(bench.open(), "open the log: planned");
  }
}

TEST(Recovery, OtherSegmentSizeAppliesToNewSegments) {
  int messages = 0;
  LogBench bench(filled_log(messages));
  bench.options.segment_bytes = 2 * kMiB;
  bench.must_open();
  EXPECT_EQ(bench.lag().pending, static_cast<std::uint64_t>(messages));
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(bench.publish("n" + std::to_string(i), std::string(40'000, 'y')));
  bench.reopen();
  EXPECT_EQ(bench.drain().size(), static_cast<std::size_t>(messages + 60));
  EXPECT_EQ(bench.files->contents(bench.segments().back()).size(), 2 * kMiB);
}

}  // namespace
}  // namespace millrace::wal
