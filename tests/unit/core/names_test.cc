#include <gtest/gtest.h>

#include <array>
#include <set>
#include <type_traits>

#include "core/fd.h"
#include "core/function_spec.h"
#include "core/run.h"

namespace millrace {
namespace {

// Every value up to `last` has a name of its own that reads back, and other texts are no name.
template <class Enum>
void expect_names(Enum last, std::optional<Enum> (*from_name)(std::string_view)) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    const auto value = static_cast<Enum>(i);
    EXPECT_TRUE(names.insert(name_of(value)).second) << name_of(value);
    EXPECT_EQ(from_name(name_of(value)), value);
  }
  EXPECT_EQ(from_name(""), std::nullopt);
  EXPECT_EQ(from_name("nonsense"), std::nullopt);
}

TEST(Names, ReadBack) {
  expect_names(RunState::done, run_state_from_name);
  expect_names(AttemptOutcome::lost, attempt_outcome_from_name);
  expect_names(RunOutcome::skipped, run_outcome_from_name);
  expect_names(ExecutorKind::process, executor_from_name);
  expect_names(NetworkKind::host, network_from_name);
}

TEST(Names, AreWhatTheApiSays) {
  EXPECT_EQ(name_of(RunState::waiting_retry), "waiting_retry");
  EXPECT_EQ(name_of(RunState::done), "done");
  EXPECT_EQ(name_of(AttemptOutcome::out_of_memory), "out_of_memory");
  EXPECT_EQ(name_of(AttemptOutcome::lost), "lost");
  EXPECT_EQ(name_of(RunOutcome::dead_lettered), "dead_lettered");
  EXPECT_EQ(name_of(RunOutcome::skipped), "skipped");
}

TEST(StoragePath, SplitsBucketAndFolder) {
  const StoragePath bucket{.path = "videos"};
  EXPECT_EQ(bucket.bucket(), "videos");
  EXPECT_EQ(bucket.folder(), "");
  const StoragePath folder{.path = "videos/cam/1"};
  EXPECT_EQ(folder.bucket(), "videos");
  EXPECT_EQ(folder.folder(), "cam/1/");
}

TEST(Fd, ClosesOnceAndMoves) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  Fd reader(ends[0]);
  Fd writer(ends[1]);
  EXPECT_TRUE(reader);
  EXPECT_FALSE(Fd());

  Fd moved(std::move(writer));
  EXPECT_FALSE(writer);  // NOLINT(bugprone-use-after-move): what a moved-from Fd is, is the claim
  EXPECT_EQ(moved.get(), ends[1]);
  EXPECT_EQ(::write(moved.get(), "x", 1), 1);

  moved = Fd();
  char byte = 0;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0) << "the other end is closed";

  const int raw = reader.release();
  EXPECT_FALSE(reader);
  EXPECT_EQ(::close(raw), 0) << "release() did not close it";
  static_assert(!std::is_copy_constructible_v<Fd>);
}

}  // namespace
}  // namespace millrace
