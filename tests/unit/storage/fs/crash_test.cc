// What is left when the process dies between any two system calls, and that repeating the work ends well.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "storage/fs/sealing.h"
#include "tests/unit/storage/fs/disk.h"
#include "tests/unit/storage/fs/traced_child.h"

namespace millrace::fs {
namespace {

using test::Disk;
using test::TracedChild;

constexpr int kStepsMax = 2000;  // of a child; a hang guard

void open_anew(Disk& disk) {
  disk.reopen();
  (void)disk.workspace();
}

// Starts as a new process does: opens everything and cleans up.
void restart(Disk& disk) {
  disk.reopen();
  const auto swept = disk.workspace().sweep(disk.box()->directory());
  ASSERT_TRUE(swept) << swept.error().message;
}

TEST(Crash, OfASealIsMadeGoodByTheNext) {
  Disk disk;
  const AttemptPlace place = Disk::attempt('a');
  const std::string folder = attempt_path(place);
  ASSERT_TRUE(make_attempt_directory(*disk.box(), place));
  disk.write(folder + "/small", "hello");
  ASSERT_EQ(chmod(disk.path(folder + "/small").c_str(), 06755), 0);
  disk.write(folder + "/sub/large", std::string(kCopiedBytesMax + 1, 'l'));
  const auto seal = [&] {
    return seal_attempt(*disk.box(), place, {.bytes_max = 1 << 30, .files_max = 100}, Disk::rank('a'));
  };

  bool ended = false;
  int steps = 0;
  for (; !ended && steps < kStepsMax; ++steps) {
    TracedChild child([&] { open_anew(disk); }, [&] { (void)seal(); });
    MILLRACE_NEEDS_TRACING(child);
    for (int i = 0; i < steps && !ended; ++i) ended = !child.step();
    child.kill();

    restart(disk);
    const auto sealed = seal();
    ASSERT_TRUE(sealed) << "killed after " << steps << " calls: " << sealed.error().message;
    ASSERT_EQ(sealed->files.size(), 2U);
    for (const auto& file : sealed->files) {
      const std::string copy = file.private_path.substr(std::string("box/").size());
      EXPECT_EQ(disk.content(copy), disk.content(folder + "/" + file.name)) << "killed after " << steps << " calls";
      EXPECT_EQ(file.placed.size_bytes, file.version.size_bytes);
    }
    struct stat status{};
    ASSERT_EQ(stat(disk.path(folder + "/small").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0755U);
    EXPECT_EQ(disk.content(folder + "/small"), "hello");
  }
  EXPECT_TRUE(ended);
  EXPECT_GT(steps, 20) << "it was really stepped through";
}

// The name holds `before`; a placer of run 'b' dies after each of its calls in turn.
void die_while_placing(const std::string& before) {
  Disk disk;
  const auto file_a = disk.seal('a');
  const auto file_b = disk.seal('b');
  bool ended = false;
  int steps = 0;
  for (; !ended && steps < kStepsMax; ++steps) {
    const std::string key = "out/" + std::to_string(steps);
    if (before == "a") ASSERT_TRUE(disk.place('a', file_a, key));
    if (before == "user") disk.write(key, "user");
    TracedChild child([&] { open_anew(disk); }, [&] { (void)disk.place('b', file_b, key); });
    MILLRACE_NEEDS_TRACING(child);
    for (int i = 0; i < steps && !ended; ++i) ended = !child.step();
    child.kill();

    const std::string left = disk.content(key);
    EXPECT_TRUE(left == before || left == "b") << "killed after " << steps << " calls: " << left;
    restart(disk);
    const auto placed = disk.place('b', file_b, key);
    ASSERT_TRUE(placed) << placed.error().message;
    EXPECT_EQ(disk.content(key), "b");
    EXPECT_EQ(disk.temporary_files(), 0U) << "killed after " << steps << " calls";
  }
  EXPECT_TRUE(ended);
  EXPECT_GT(steps, 10);
}

TEST(Crash, OfAPlacingLeavesAFreeNameFreeOrTaken) {
  die_while_placing("<none>");
}
TEST(Crash, OfAPlacingLeavesTheEarlierFileOrOurs) {
  die_while_placing("a");
}
TEST(Crash, OfAPlacingLeavesTheUsersFileOrOurs) {
  die_while_placing("user");
}

// Whoever takes the copy away has seen that the name stands, and who comes after him finds it so.
TEST(Crash, OfWhoTakesTheCopyAwayLosesNothing) {
  Disk disk;
  bool ended = false;
  int steps = 0;
  int copies_gone = 0;
  for (; !ended && steps < kStepsMax; ++steps) {
    const std::string key = "out/" + std::to_string(steps);
    const auto file = disk.seal('b');
    TracedChild child([&] { open_anew(disk); },
                      [&] {
                        if (disk.place('b', file, key)) std::filesystem::remove(disk.path(disk.copy('b')));
                      });
    MILLRACE_NEEDS_TRACING(child);
    for (int i = 0; i < steps && !ended; ++i) ended = !child.step();
    child.kill();

    restart(disk);
    if (!std::filesystem::exists(disk.path(disk.copy('b')))) {
      ++copies_gone;
      EXPECT_EQ(disk.content(key), "b") << "killed after " << steps << " calls";
    }
    const auto placed = disk.place('b', file, key);
    ASSERT_TRUE(placed) << placed.error().message;
    EXPECT_EQ(disk.content(key), "b");
    EXPECT_EQ(disk.temporary_files(), 0U) << "killed after " << steps << " calls";
    ASSERT_TRUE(remove_attempt_step(*disk.box(), Disk::attempt('b'), 1000));
  }
  EXPECT_TRUE(ended);
  EXPECT_GT(copies_gone, 0);
}

// A placer of the early run is stopped after each of its calls; meanwhile the late run is placed; the early one goes on
// and dies after each of its further calls. However they mix, the late file stands once the early placing is repeated.
TEST(Crash, OfAnEarlyPlacerNeverCostsTheLateFile) {
  Disk disk;
  const auto early = disk.seal('a');
  const auto late = disk.seal('b');
  int mixes = 0;
  int lost_without_settling = 0;
  bool pause_ended = false;
  for (int pause = 0; !pause_ended && pause < kStepsMax; ++pause) {
    bool ended = false;
    for (int further = 0; !ended && further < kStepsMax; ++further, ++mixes) {
      const std::string key = "out/" + std::to_string(pause) + "-" + std::to_string(further);
      disk.write(key, "user");
      TracedChild child([&] { open_anew(disk); }, [&] { (void)disk.place('a', early, key); });
      MILLRACE_NEEDS_TRACING(child);
      for (int i = 0; i < pause && !ended; ++i) ended = !child.step();
      pause_ended = ended;
      ASSERT_TRUE(disk.place('b', late, key));
      for (int i = 0; i < further && !ended; ++i) ended = !child.step();
      child.kill();
      if (disk.content(key) == "a") ++lost_without_settling;

      restart(disk);
      ASSERT_TRUE(disk.place('a', early, key));
      ASSERT_EQ(disk.content(key), "b") << "paused after " << pause << " calls, killed after " << further << " more";
      ASSERT_EQ(disk.temporary_files(), 0U);
      std::filesystem::remove(disk.path(key));
    }
  }
  EXPECT_TRUE(pause_ended);
  EXPECT_GT(mixes, 100);
  EXPECT_GT(lost_without_settling, 0) << "the dangerous window was never hit";
}

TEST(Crash, OfARemovalIsMadeGoodByTheNext) {
  Disk disk;
  const AttemptPlace place = Disk::attempt('c');
  bool ended = false;
  int steps = 0;
  for (; !ended && steps < kStepsMax; ++steps) {
    disk.seal('c');
    TracedChild child([&] { open_anew(disk); }, [&] { (void)remove_attempt_step(*disk.box(), place, 1000); });
    MILLRACE_NEEDS_TRACING(child);
    for (int i = 0; i < steps && !ended; ++i) ended = !child.step();
    child.kill();
    const auto removed = remove_attempt_step(*disk.box(), place, 1000);
    ASSERT_TRUE(removed) << removed.error().message;
    EXPECT_TRUE(*removed);
    EXPECT_FALSE(std::filesystem::exists(disk.path(attempt_path(place))));
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace millrace::fs
