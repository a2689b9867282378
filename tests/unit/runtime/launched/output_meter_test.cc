#include "runtime/launched/output_meter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/fd.h"
#include "tests/support/temp_dir.h"

namespace millrace::launched {
namespace {

class OutputMeter : public testing::Test {
 protected:
  void write(const std::string& name, std::size_t size) { std::ofstream(directory_ / name) << std::string(size, 'x'); }
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
  EXPECT_EQ(size.bytes, 60U);
  EXPECT_EQ(size.files, 3U);
}

TEST_F(OutputMeter, MeasuresTheSameDirectoryAgain) {
  write("a", 10);
  const Fd fd(::open(directory_.path().c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_EQ(measure_outputs(fd.get(), limits_).bytes, 10U);
  EXPECT_EQ(measure_outputs(fd.get(), limits_).bytes, 10U);
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
  limits_.output_bytes = 10;
  EXPECT_EQ(measure().bytes, 11U);
}

TEST_F(OutputMeter, TakesEndlessDirectoriesForFiles) {
  limits_.output_files = 3;
  for (std::size_t i = 0; i < 3 + kOutputDepthMax + 1; ++i) {
    std::filesystem::create_directory(directory_ / ("d" + std::to_string(i)));
  }
  EXPECT_TRUE(over_limit(measure(), limits_));
}

TEST_F(OutputMeter, GoesNoDeeperThanItsBound) {
  std::string path;
  for (std::size_t i = 0; i < kOutputDepthMax + 10; ++i) path += "d/";
  std::filesystem::create_directories(directory_ / path);
  write(path + "deep", 10);
  write("top", 1);
  EXPECT_EQ(measure().bytes, 1U);
}

}  // namespace
}  // namespace millrace::launched
