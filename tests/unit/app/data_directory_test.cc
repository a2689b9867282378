#include "app/data_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

constexpr UserIds kNobody{.uid = 65534, .gid = 65534};

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

TEST(DataDirectory, AndWhatLiesInItBelongsToTheDaemonsUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root gives directories away";
  const test::TempDir dir;
  const std::string data = dir / "a/data";
  ASSERT_TRUE(prepare_data_directory(data, kNobody));
  ASSERT_TRUE(prepare_data_directory(data, kNobody)) << "again";
  for (const std::string name : {"", "/log", "/functions", "/scratch", "/buckets"}) {
    struct stat info{};
    ASSERT_EQ(::lstat((data + name).c_str(), &info), 0) << name;
    EXPECT_TRUE(S_ISDIR(info.st_mode)) << name;
    EXPECT_EQ(info.st_uid, kNobody.uid) << name;
    EXPECT_EQ(info.st_gid, kNobody.gid) << name;
  }
}

TEST(DataDirectory, APipeInPlaceOfItsVersionHoldsNobodyUp) {
  const test::TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "version").c_str(), 0600), 0);
  ASSERT_EQ(::chmod(dir.path().c_str(), 0700), 0);
  const auto prepared = prepare_data_directory(dir.path(), {});
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().code, Errc::data_loss);
}

TEST(DataDirectory, ThatIsAFileIsRefused) {
  const test::TempDir dir;
  std::ofstream(dir / "file") << "x";
  EXPECT_EQ(prepare_data_directory(dir / "file", {}).error().code, Errc::failed_precondition);
}

TEST(DataDirectory, IsOneServersAtATimeAndTheOtherIsToldWhose) {
  const test::TempDir dir;
  {
    const auto lock = lock_data_directory(dir.path());
    ASSERT_TRUE(lock) << lock.error().message;
    const auto second = lock_data_directory(dir.path());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::failed_precondition);
    EXPECT_NE(second.error().message.find("(process " + std::to_string(::getpid()) + ")"), std::string::npos)
        << second.error().message;
  }
  EXPECT_TRUE(lock_data_directory(dir.path()));
}

// Another name of somebody else's file, laid where the new content is put together.
TEST(DataDirectory, WritingAFileLeavesWhatHasItsNameAlone) {
  const test::TempDir dir;
  std::ofstream(dir / "precious") << "precious";
  ASSERT_EQ(::link((dir / "precious").c_str(), (dir / "listen.new").c_str()), 0);
  ASSERT_TRUE(write_file(dir / "listen", "127.0.0.1:1\n"));
  EXPECT_EQ(content_of(dir / "precious"), "precious");
  EXPECT_EQ(content_of(dir / "listen"), "127.0.0.1:1");
}

// On a full disk there is no room for a new one.
TEST(DataDirectory, AFileThatHoldsTheTextAlreadyIsLeftAsItIs) {
  const test::TempDir dir;
  ASSERT_TRUE(write_file(dir / "listen", "127.0.0.1:1\n"));
  struct stat before{};
  struct stat after{};
  ASSERT_EQ(::stat((dir / "listen").c_str(), &before), 0);
  ASSERT_TRUE(write_file(dir / "listen", "127.0.0.1:1\n"));
  ASSERT_EQ(::stat((dir / "listen").c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  ASSERT_TRUE(write_file(dir / "listen", "127.0.0.1:12\n"));
  EXPECT_EQ(content_of(dir / "listen"), "127.0.0.1:12");
}

}  // namespace
}  // namespace millrace
