#include "runtime/launched/output_meter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/fd.h"
#include "tests/support/temp_dir.h"

namespace millrace::launched {
namespace {

class OutputMeter : public testing::Test {
 protected:
  void write(const std::string& name, std::size_t size) { std::ofstream(directory_ / name) << std::string(size, 'x'); }
  std::uint64_t occupied(const std::string& name) {
    struct stat status{};
    EXPECT_EQ(::stat((directory_ / name).c_str(), &status), 0);
    return std::max<std::uint64_t>(static_cast<std::uint64_t>(status.st_size),
                                   static_cast<std::uint64_t>(status.st_blocks) * 512);
  }
  OutputSize measure() {
    const Fd fd(::open(directory_.path().c_str(), O_RDONLY | O_DIRECTORY));
    return measure_outputs(fd.get(), limits_);
  }
  test::TempDir directory_;
  LimitsSpec limits_;
};

TEST_F(OutputMeter, CountsFilesInAllFolders) {
  EXPECT_EQ(measure().files, 0U);
  write("a", 10);
  std::filesystem::create_directories(directory_ / "x/y");
  write("x/b", 20);
  write("x/y/c", 30);
  const auto size = measure();
  EXPECT_EQ(size.bytes, occupied("a") + occupied("x/b") + occupied("x/y/c"));
  EXPECT_EQ(size.files, 3U);
}

TEST_F(OutputMeter, MeasuresTheSameDirectoryAgain) {
  write("a", 10);
  const Fd fd(::open(directory_.path().c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_EQ(measure_outputs(fd.get(), limits_).bytes, occupied("a"));
  EXPECT_EQ(measure_outputs(fd.get(), limits_).bytes, occupied("a"));
}

TEST_F(OutputMeter, FollowsNoLink) {
  ASSERT_EQ(::symlink("/", (directory_ / "root").c_str()), 0);
  ASSERT_EQ(::symlink(".", (directory_ / "loop").c_str()), 0);
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  const auto size = measure();
  EXPECT_EQ(size.bytes, 0U);
  EXPECT_EQ(size.files, 0U);
}

TEST_F(OutputMeter, StopsOnceTheLimitIsPassed) {
  limits_.output_files = 3;
  for (int i = 0; i < 50; ++i) write(std::to_string(i), 1);
  EXPECT_EQ(measure().files, 4U);
  limits_.output_files = 100;
  limits_.output_bytes = 10 * occupied("0");
  EXPECT_EQ(measure().bytes, 11 * occupied("0"));
}

TEST_F(OutputMeter, TakesEndlessDirectoriesForFiles) {
  limits_.output_files = 3;
  for (std::size_t i = 0; i < 3 + kOutputDepthMax + 1; ++i) {
    std::filesystem::create_directory(directory_ / ("d" + std::to_string(i)));
  }
  EXPECT_TRUE(over_limit(measure(), limits_));
}

TEST_F(OutputMeter, TakesFoldersDeeperThanItsBoundForTooMuch) {
  std::string path;
  for (std::size_t i = 1; i < kOutputDepthMax; ++i) path += "d/";
  std::filesystem::create_directories(directory_ / path);
  write(path + "deepest", 10);
  EXPECT_EQ(measure().files, 1U);
  EXPECT_FALSE(over_limit(measure(), limits_));
  std::filesystem::create_directories(directory_ / (path + "d"));
  EXPECT_TRUE(over_limit(measure(), limits_));
}

TEST_F(OutputMeter, CountsWhatIsReservedBeyondTheEndOfAFile) {
  const Fd file(::open((directory_ / "reserved").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, 1 << 20) != 0)
    GTEST_SKIP() << "this file system reserves nothing";
  EXPECT_GE(measure().bytes, 1U << 20);
}

TEST_F(OutputMeter, CountsHoles) {
  const Fd file(::open((directory_ / "sparse").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(file.get(), 1 << 20), 0);
  EXPECT_EQ(measure().bytes, 1U << 20);
}

// Root may read every folder, so another user has to look.
TEST_F(OutputMeter, LooksIntoFoldersThatTheFunctionMadeUnreadable) {
  std::filesystem::create_directories(directory_ / "hidden");
  write("hidden/a", 10);
  const std::uint64_t expected = occupied("hidden/a");
  if (::geteuid() == 0) {
    constexpr uid_t kNobody = 65534;
    ASSERT_EQ(::chown(directory_.path().c_str(), kNobody, kNobody), 0);
    ASSERT_EQ(::chown((directory_ / "hidden").c_str(), kNobody, kNobody), 0);
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  ASSERT_EQ(::chmod((directory_ / "hidden").c_str(), 0), 0);
  const auto size = measure();
  if (::getuid() == 0) ASSERT_EQ(::seteuid(0), 0);
  EXPECT_EQ(size.bytes, expected);
}

}  // namespace
}  // namespace millrace::launched
