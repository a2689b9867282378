#include "broker/log/log_inspection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "broker/log/batch_reader.h"
#include "broker/log/recovery.h"
#include "broker/log/segment_format.h"
#include "tests/unit/broker/log/log_bench.h"

namespace millrace::wal {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kFirst = "log-00000001";

struct Place {
  std::size_t offset;
  std::size_t length;
  RecordType type;
  std::uint64_t seq;
};

std::vector<Place> records_of(const std::string& bytes) {
  const auto header = decode_header(bytes);
  BatchReader reader(bytes, header->seed(), 0);
  std::vector<Place> places;
  std::vector<BatchReader::Item> batch;
  while (reader.next(batch)) {
    for (const auto& item : batch) {
      places.push_back({item.offset, item.record.length, item.record.head.type, item.record.head.seq});
    }
  }
  return places;
}

// Topic "t" with group "g" and these many messages, all in one segment.
std::shared_ptr<FakeLogFiles> small_log(int messages) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  for (int i = 0; i < messages; ++i) EXPECT_TRUE(bench.publish(std::to_string(i), std::string(600, 'x')));
  bench.close();
  bench.drop();
  return bench.files;
}

Place message_place(const std::string& bytes, std::uint64_t seq) {
  for (const auto& place : records_of(bytes)) {
    if (place.type == RecordType::message && place.seq == seq) return place;
  }
  ADD_FAILURE() << "no message " << seq;
  std::abort();
}

Result<LogInspection> inspect_untouched(FakeLogFiles& files) {
  std::map<std::string, std::string> before;
  for (const auto& name : files.names()) before[name] = files.contents(name);
  const auto changes = files.changes();
  auto found = inspect_log(files, std::chrono::system_clock::now());
  EXPECT_EQ(files.changes(), changes);
  for (const auto& name : files.names()) EXPECT_EQ(files.contents(name), before[name]) << name;
  return found;
}

TEST(LogInspection, TellsWhatIsInAWholeLog) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  bench.make_topic("idle");
  ASSERT_TRUE(bench.await(bench.broker->ensure({.name = "lonely", .groups = {}})));
  ASSERT_TRUE(bench.publish("alone", "x", "lonely"));
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(bench.publish(std::to_string(i), "x"));
  std::vector<Outgoing> later;
  later.push_back(LogBench::message("later", "x"));
  later[0].delay = std::chrono::hours(1);
  ASSERT_TRUE(bench.await(bench.broker->publish("t", std::move(later)))[0]);
  const auto subscription = bench.subscribe();
  auto acked = bench.next(*subscription);
  ASSERT_TRUE(bench.await(acked->ack()));
  auto begun = bench.next(*subscription);
  ASSERT_TRUE(bench.await(begun->begin()));
  auto dead = bench.next(*subscription);
  ASSERT_TRUE(bench.await(dead->term("no use", {})));
  const auto files = bench.files->copy();  // as a crash would leave it

  const auto found = inspect_log(*files, bench.loop.wall_now() + std::chrono::seconds(5));
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->health, LogHealth::whole);
  EXPECT_EQ(found->format_version, kFormatVersion);
  EXPECT_EQ(found->messages, 7U);  // six of "t", one of "lonely"
  ASSERT_EQ(found->topics.size(), 3U);
  EXPECT_EQ(found->topics[0].name, "idle");
  EXPECT_FALSE(found->topics[0].groups.at(0).oldest);
  EXPECT_EQ(found->topics[1].name, "lonely");
  EXPECT_TRUE(found->topics[1].groups.empty());
  EXPECT_EQ(found->topics[1].messages, 1U);
  const InspectedTopic& topic = found->topics[2];
  EXPECT_EQ(topic.messages, 6U);
  const InspectedGroup& group = topic.groups.at(0);
  EXPECT_EQ(group.name, "g");
  EXPECT_EQ(group.pending, 3U);
  EXPECT_EQ(group.in_work, 1U);
  EXPECT_EQ(group.delayed, 1U);
  EXPECT_EQ(group.dead, 1U);
  EXPECT_GE(group.oldest.value(), milliseconds(5000));
  ASSERT_EQ(found->segments.size(), 2U);
  EXPECT_EQ(found->segments[0].file, kFirst);
  EXPECT_EQ(found->segments[0].state, SegmentState::active);
  EXPECT_EQ(found->segments[0].epoch, 1U);
  EXPECT_EQ(found->segments[0].size_bytes, kMiB);
  EXPECT_GT(found->segments[0].live_bytes, 0U);
  EXPECT_GT(found->segments[0].used_bytes, found->segments[0].live_bytes + kSegmentHeaderBytes);
  EXPECT_EQ(found->segments[1].state, SegmentState::empty);
  EXPECT_FALSE(found->damage);
}

TEST(LogInspection, FullSegmentsAndSparesAreToldApart) {
  LogBench bench;
  bench.must_open();
  bench.make_topic();
  for (int i = 0; bench.segments().size() < 4; ++i) {
    ASSERT_TRUE(bench.publish(std::to_string(i), std::string(100'000, 'x')));
  }
  bench.close();
  bench.drop();
  bench.files->set_contents("spare-log-00000009", std::string(kMiB, '\0'));
  const auto found = inspect_untouched(*bench.files);
  ASSERT_TRUE(found) << found.error().message;
  std::vector<SegmentState> states;
  for (const auto& segment : found->segments) states.push_back(segment.state);
  EXPECT_EQ(states.front(), SegmentState::full);
  EXPECT_THAT(states, testing::Contains(SegmentState::active));
  EXPECT_EQ(states[states.size() - 2], SegmentState::empty);
  EXPECT_EQ(states.back(), SegmentState::spare);
}

TEST(LogInspection, EmptyLogIsWholeAndAnEmptyDirectoryIsNoLog) {
  LogBench bench;
  bench.must_open();
  bench.close();
  bench.drop();
  const auto found = inspect_untouched(*bench.files);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->health, LogHealth::whole);
  EXPECT_EQ(found->messages, 0U);
  EXPECT_TRUE(found->topics.empty());

  FakeLogFiles nothing;
  const auto none = inspect_log(nothing, {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::not_found);
}

TEST(LogInspection, TornEndSaysWhatTheNextStartDrops) {
  // One batch of several messages whose first sector never arrived, and one whose last body did not.
  LogBench writer(small_log(2));
  writer.must_open();
  std::vector<Outgoing> batch;
  for (int i = 10; i < 14; ++i) batch.push_back(LogBench::message(std::to_string(i), std::string(600, 'y')));
  writer.await(writer.broker->publish("t", std::move(batch)));
  writer.drop();
  const std::string whole = writer.files->contents(kFirst);
  const Place start = message_place(whole, 2);
  const Place end = message_place(whole, 5);

  for (const bool head_lost : {true, false}) {
    std::string torn = whole;
    if (head_lost) {
      std::fill_n(torn.begin() + static_cast<std::ptrdiff_t>(start.offset), 512, '\0');
    } else {
      std::fill(torn.begin() + static_cast<std::ptrdiff_t>(end.offset + 100), torn.end(), '\0');
    }
    const auto files = writer.files->copy();
    files->set_contents(kFirst, torn);
    const auto found = inspect_untouched(*files);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->health, LogHealth::torn);
    EXPECT_EQ(found->torn_file, kFirst);
    EXPECT_EQ(found->torn_from, start.offset);
    const std::size_t dropped = (head_lost ? end.offset + padded(end.length) : end.offset) - start.offset;
    EXPECT_EQ(found->torn_bytes, dropped);
    EXPECT_EQ(found->messages, 2U);
    // What was announced is what a start does.
    LogBench again(files);
    again.must_open();
    EXPECT_EQ(again.lag().pending, 2U);
    again.close();
    again.drop();
    EXPECT_EQ(inspect_untouched(*files)->health, LogHealth::whole);
  }
}

TEST(LogInspection, TornSingleRecordIsSeenByItsHead) {
  const auto files = small_log(3);
  std::string bytes = files->contents(kFirst);
  const Place last = message_place(bytes, 2);
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(last.offset + 100), bytes.end(), '\0');
  files->set_contents(kFirst, bytes);
  const auto found = inspect_untouched(*files);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->health, LogHealth::torn);
  EXPECT_EQ(found->torn_from, last.offset);
  EXPECT_EQ(found->torn_bytes, padded(last.length));
  EXPECT_EQ(found->messages, 2U);
}

TEST(LogInspection, FlippedBitInABodyNamesFileOffsetAndMessage) {
  const auto files = small_log(9);
  std::string bytes = files->contents(kFirst);
  const Place hit = message_place(bytes, 4);
  bytes[hit.offset + 200] = static_cast<char>(bytes[hit.offset + 200] ^ 1);
  files->set_contents(kFirst, bytes);
  const auto found = inspect_untouched(*files);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->health, LogHealth::damaged);
  ASSERT_TRUE(found->damage);
  EXPECT_THAT(found->damage->message, HasSubstr("fake/log-00000001 is damaged at byte " + std::to_string(hit.offset)));
  EXPECT_EQ(found->damage->file, kFirst);
  EXPECT_EQ(found->damage->offset, hit.offset);
  EXPECT_EQ(found->damage->unreadable_from, hit.offset);
  EXPECT_EQ(found->damage->unreadable_to, hit.offset + padded(hit.length));
  ASSERT_EQ(found->damage->affected.size(), 1U);
  EXPECT_EQ(found->damage->affected[0].name, "t");
  EXPECT_EQ(found->damage->affected[0].first, 4U);
  EXPECT_EQ(found->damage->affected[0].last, 4U);
  EXPECT_EQ(found->segments.size(), 2U);
}

TEST(LogInspection, LostHeadsAreBoundedByTheMessagesAround) {
  const auto files = small_log(9);
  std::string bytes = files->contents(kFirst);
  const Place from = message_place(bytes, 3);
  const Place to = message_place(bytes, 6);
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(from.offset),
            bytes.begin() + static_cast<std::ptrdiff_t>(to.offset), '\xaa');
  files->set_contents(kFirst, bytes);
  const auto found = inspect_untouched(*files);
  ASSERT_TRUE(found && found->damage);
  EXPECT_EQ(found->damage->unreadable_from, from.offset);
  EXPECT_EQ(found->damage->unreadable_to, to.offset);
  ASSERT_EQ(found->damage->affected.size(), 1U);
  EXPECT_EQ(found->damage->affected[0].first, 3U);
  EXPECT_EQ(found->damage->affected[0].last, 5U);
}

TEST(LogInspection, AShortenedSegmentMayLackEverythingUpToTheNextMessageElsewhere) {
  for (const int messages : {9, 2'000}) {  // in one segment, and in more
    SCOPED_TRACE(messages);
    const auto files = small_log(messages);
    const std::string bytes = files->contents(kFirst);
    const Place cut = message_place(bytes, 4);
    files->set_contents(kFirst, bytes.substr(0, cut.offset + 100));  // its head is still there
    const auto found = inspect_untouched(*files);
    ASSERT_TRUE(found && found->damage);
    ASSERT_EQ(found->damage->affected.size(), 1U);
    EXPECT_EQ(found->damage->affected[0].first, 4U);
    std::optional<std::uint64_t> last;
    for (const auto& place : records_of(files->contents("log-00000002"))) {
      if (place.type == RecordType::message && !last) last = place.seq - 1;
    }
    EXPECT_EQ(last.has_value(), messages > 9);
    EXPECT_EQ(found->damage->affected[0].last, last);
  }
}

TEST(LogInspection, MissingShortAndForeignSegmentsAreDamageAtAPlace) {
  const auto files = small_log(4);
  files->set_contents("log-00000002", "not ours at all");
  auto found = inspect_untouched(*files);
  ASSERT_TRUE(found && found->damage);
  EXPECT_EQ(found->damage->file, "log-00000002");
  EXPECT_EQ(found->damage->offset, 0U);

  files->forget("log-00000002");
  files->set_contents(kFirst, files->contents(kFirst).substr(0, kMiB - 8));
  found = inspect_untouched(*files);
  ASSERT_TRUE(found && found->damage);
  EXPECT_EQ(found->damage->file, kFirst);
  EXPECT_EQ(found->damage->offset, kMiB - 8);
}

TEST(LogInspection, OtherFilesAreNamedAndDoNoHarm) {
  const auto files = small_log(1);
  files->set_contents("notes.txt", "hello");
  files->set_contents("log-1", "hello");
  files->set_contents("lock", "1\n");
  const auto found = inspect_untouched(*files);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->health, LogHealth::whole);
  EXPECT_THAT(found->other_files, ElementsAre("log-1", "notes.txt"));
}

TEST(LogInspection, NewerVersionIsRefusedNotCalledDamaged) {
  const auto files = small_log(1);
  std::string bytes = files->contents(kFirst);
  bytes[8] = static_cast<char>(kFormatVersion + 1);
  files->set_contents(kFirst, bytes);
  const auto found = inspect_untouched(*files);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Errc::failed_precondition);
  EXPECT_THAT(found.error().message, HasSubstr("version " + std::to_string(kFormatVersion + 1)));
}

TEST(LogInspection, ErrorsOfReadingAreReported) {
  using Operation = FakeLogFiles::Operation;
  for (const auto failing : {Operation::list, Operation::open, Operation::read}) {
    const auto files = small_log(1);
    files->set_fault([failing](Operation operation, const std::string&) -> std::optional<Error> {
      if (operation != failing) return std::nullopt;
      return Error{.code = Errc::unavailable, .message = "planned", .retry_after = {}};
    });
    const auto found = inspect_log(*files, {});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().message, "planned");
  }
}

TEST(LogInspection, AMessageNumberThatCannotBeIsDamageAndEnds) {
  const auto files = small_log(1);
  std::string bytes = files->contents(kFirst);
  const auto header = decode_header(bytes);
  const Place last = message_place(bytes, 0);
  std::string record;
  append_record(record, {.type = RecordType::message, .topic = 0, .seq = UINT64_MAX},
                bytes.substr(last.offset + 40, last.length - 40));
  const auto found_before = inspect_untouched(*files);
  ASSERT_TRUE(found_before);
  seal_batch(record, found_before->last_batch + 1, header->seed());
  bytes.replace(found_before->segments[0].used_bytes, record.size(), record);
  files->set_contents(kFirst, bytes);
  const auto found = inspect_untouched(*files);
  ASSERT_TRUE(found && found->damage);
  EXPECT_THAT(found->damage->message, HasSubstr("impossible message"));
}

// Real files, for what only they can show.
class LogDirectory : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "millrace-inspect-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    const auto files = small_log(2);
    for (const auto& each : files->names()) std::ofstream(folder_ / each, std::ios::binary) << files->contents(each);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] Result<LogInspection> inspect() const {
    auto files = open_log_directory_to_read(folder_);
    if (!files) return fail(files.error());
    return inspect_log(**files, std::chrono::system_clock::now());
  }

  std::filesystem::path folder_;
};

TEST_F(LogDirectory, IsReadAndLeftAlone) {
  const auto found = inspect();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->messages, 2U);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "lock"));
}

TEST_F(LogDirectory, ThatIsLockedIsRefusedAndAfterwardsRead) {
  auto owner = open_log_directory(folder_);
  ASSERT_TRUE(owner);
  ASSERT_TRUE((*owner)->lock());
  const auto found = inspect();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Errc::failed_precondition);
  EXPECT_THAT(found.error().message, HasSubstr("in use by process " + std::to_string(::getpid())));
  owner->reset();
  EXPECT_TRUE(inspect());
}

TEST_F(LogDirectory, LookingDoesNotKeepAServerFromStartingAndNoticesIt) {
  const auto reading = open_log_directory_to_read(folder_);
  ASSERT_TRUE(reading);
  ASSERT_TRUE((*reading)->lock());
  {
    auto owner = open_log_directory(folder_);
    ASSERT_TRUE(owner);
    ASSERT_TRUE((*owner)->lock());
    EXPECT_FALSE((*reading)->lock());
  }
  const auto after = (*reading)->lock();
  ASSERT_FALSE(after);
  EXPECT_THAT(after.error().message, HasSubstr("while it was read"));
}

TEST_F(LogDirectory, ReadingRefusesChangesPipesAndMissingFolders) {
  const auto reading = open_log_directory_to_read(folder_);
  ASSERT_TRUE(reading);
  EXPECT_FALSE((*reading)->create("x"));
  EXPECT_FALSE((*reading)->rename(kFirst, "x"));
  EXPECT_FALSE((*reading)->remove(kFirst));
  EXPECT_FALSE((*reading)->sync());
  EXPECT_FALSE((*(*reading)->open(kFirst))->write("x", 0));
  ASSERT_EQ(::mkfifo((folder_ / "log-00000007").c_str(), 0600), 0);
  const auto found = inspect();
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("not a regular file"));
  const auto missing = open_log_directory_to_read(folder_ / "nowhere");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "nowhere"));
}

}  // namespace
}  // namespace millrace::wal
