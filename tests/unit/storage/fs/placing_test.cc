#include "storage/fs/placing.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <random>
#include <vector>

#include "storage/fs/mark.h"
#include "tests/unit/storage/fs/disk.h"

namespace millrace::fs {
namespace {

using test::Disk;

// Makes renameat2() with flags fail as it does on NFS, for this process and for good.
bool lose_rename_flags() {
  std::array filter = {
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3),
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 4 * sizeof(std::uint64_t)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{.len = filter.size(), .filter = filter.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// Runs `body` in a child; its result is the number of the first claim that did not hold, 0 if all did.
template <class Body>
int in_child(Body body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool is_placed(const Result<Placed>& placed, Placed expected) {
  return placed && *placed == expected;
}

TEST(WeakPlacing, PlacesWithoutExchangingNames) {
  Disk disk;
  const auto early = disk.seal('a');
  const auto late = disk.seal('b');
  disk.write("user", "u");
  const int failed = in_child([&] {
    if (!lose_rename_flags()) return 100;
    disk.reopen();
    if (!is_weak_placing(disk.workspace()).value_or(false)) return 1;
    if (!is_placed(disk.place('a', early, "new/f"), Placed::appeared)) return 2;
    if (!is_placed(disk.place('a', early, "new/f"), Placed::appeared)) return 3;
    if (!is_placed(disk.place('b', late, "new/f"), Placed::replaced)) return 4;
    if (!is_placed(disk.place('a', early, "new/f"), Placed::superseded)) return 5;
    if (!is_placed(disk.place('a', early, "user"), Placed::replaced)) return 6;
    std::filesystem::create_directory(disk.path("folder"));
    const auto over_folder = disk.place('a', early, "folder");
    if (over_folder || over_folder.error().code != Errc::failed_precondition) return 7;
    return 0;
  });
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(disk.content("new/f"), "b");
  EXPECT_EQ(disk.content("user"), "a");
  disk.reopen();
  ASSERT_TRUE(disk.workspace().sweep(disk.box()->directory()));
  EXPECT_EQ(disk.temporary_files(), 0U);
}

TEST(WeakPlacing, IsFoundOutOnTheWay) {
  Disk disk;
  const auto early = disk.seal('a');
  const auto late = disk.seal('b');
  const int failed = in_child([&] {
    if (!lose_rename_flags()) return 100;
    disk.reopen();
    if (!is_placed(disk.place('a', early, "f"), Placed::appeared)) return 1;
    if (!is_placed(disk.place('b', late, "f"), Placed::replaced)) return 2;
    return disk.workspace().exchanges ? 3 : 0;
  });
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(disk.content("f"), "b");
}

TEST(StrongPlacing, IsWhatALocalFileSystemHas) {
  Disk disk;
  EXPECT_FALSE(is_weak_placing(disk.workspace()).value());
  EXPECT_EQ(disk.temporary_files(), 0U);
}

TEST(Placing, LeavesNoTemporaryFile) {
  Disk disk;
  const auto early = disk.seal('a');
  const auto late = disk.seal('b');
  disk.write("f", "user's");
  ASSERT_TRUE(disk.place('b', late, "f"));
  ASSERT_TRUE(disk.place('a', early, "f"));
  ASSERT_TRUE(disk.place('a', early, "g"));
  std::filesystem::create_directory(disk.path("folder"));
  ASSERT_FALSE(disk.place('a', early, "folder"));
  EXPECT_EQ(disk.temporary_files(), 0U);
}

TEST(Placing, ReplacesAUsersLinkWithoutFollowingIt) {
  Disk disk;
  const auto file = disk.seal('a');
  disk.write("precious", "kept");
  ASSERT_EQ(symlink("precious", disk.path("f").c_str()), 0);
  EXPECT_TRUE(is_placed(disk.place('a', file, "f"), Placed::replaced));
  EXPECT_EQ(disk.content("f"), "a");
  EXPECT_EQ(disk.content("precious"), "kept");

  std::filesystem::create_directory_symlink("/tmp", disk.path("out"));
  const auto through_link = disk.place('a', file, "out/f");
  ASSERT_FALSE(through_link);
  EXPECT_EQ(through_link.error().code, Errc::failed_precondition);
}

TEST(Placing, RanksAUsersCopyOfAResultAsThatResult) {
  Disk disk;
  const auto early = disk.seal('a');
  const auto late = disk.seal('b');
  disk.write("copy", "copied and edited");
  const Fd copy(open(disk.path("copy").c_str(), O_RDWR));
  ASSERT_EQ(write_mark(copy.get(), Disk::rank('b')), 0);  // as cp -a would
  EXPECT_TRUE(is_placed(disk.place('a', early, "copy"), Placed::superseded));
  EXPECT_EQ(disk.content("copy"), "copied and edited");
  EXPECT_TRUE(is_placed(disk.place('b', late, "copy"), Placed::replaced));
  EXPECT_EQ(disk.content("copy"), "b");
}

TEST(Settling, PutsALaterFileBackOnlyOverAnEarlierOneOfOurs) {
  Disk disk;
  const auto early = disk.seal('a');
  const auto late = disk.seal('b');
  const auto settle = [&](const std::string& key) {
    return settle_placing(disk.workspace().tmp(), "taken", disk.box()->directory(), key);
  };
  const auto take = [&] {  // as if a dead placer had it
    std::filesystem::remove(disk.path(".millrace/tmp/taken"));
    std::filesystem::create_hard_link(disk.root() + "/" + late.source_path, disk.path(".millrace/tmp/taken"));
  };

  take();
  ASSERT_TRUE(disk.place('a', early, "f"));
  ASSERT_TRUE(settle("f"));
  EXPECT_EQ(disk.content("f"), "b");

  take();
  disk.write("user", "newer");
  ASSERT_TRUE(settle("user"));
  EXPECT_EQ(disk.content("user"), "newer");

  ASSERT_TRUE(settle("removed"));
  EXPECT_EQ(disk.content("removed"), "<none>");
  ASSERT_TRUE(settle("no/folder"));
  EXPECT_FALSE(std::filesystem::exists(disk.path("no")));
}

// Whole processes this time: nothing is shared but the disk.
TEST(Placing, LetsTheLatestStandAmongRacingProcesses) {
  constexpr int kPlacers = 6;
  constexpr int kRounds = 50;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Disk disk;
  std::vector<SealedFile> files;
  for (int i = 0; i < kPlacers; ++i) files.push_back(disk.seal(static_cast<char>('a' + i)));
  std::vector<pid_t> children;
  for (int i = 0; i < kPlacers; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      std::mt19937 random(seed + static_cast<unsigned>(i));
      disk.reopen();
      int failures = 0;
      for (int round = 0; round < kRounds; ++round) {
        for (unsigned pause = random() % 20; pause > 0; --pause) sched_yield();
        const auto placed =
            disk.place(static_cast<char>('a' + i), files[static_cast<std::size_t>(i)], "race/" + std::to_string(round));
        if (!placed) ++failures;
      }
      _exit(failures);
    }
    children.push_back(pid);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  for (int round = 0; round < kRounds; ++round) {
    EXPECT_EQ(disk.content("race/" + std::to_string(round)), std::string(1, 'a' + kPlacers - 1)) << round;
  }
}

}  // namespace
}  // namespace millrace::fs
