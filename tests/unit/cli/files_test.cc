#include "cli/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "tests/support/temp_dir.h"

namespace millrace::cli {
namespace {

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t entries(const std::string& path) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
}

TEST(ReadWhole, TakesExactlyTheLimit) {
  const test::TempDir dir;
  write(dir / "a", "12345");
  EXPECT_EQ(read_whole(dir / "a", 5).value(), "12345");
  EXPECT_EQ(read_whole(dir / "a", 4).error().code, Errc::too_large);
  EXPECT_EQ(read_whole(dir / "none", 4).error().code, Errc::invalid_argument);
  EXPECT_EQ(read_whole(dir.path(), 4).error().code, Errc::invalid_argument);
}

TEST(OpenSource, TellsTheSize) {
  const test::TempDir dir;
  write(dir / "a", "12345");
  const auto source = open_source(dir / "a");
  ASSERT_TRUE(source);
  EXPECT_EQ(source->size_bytes, 5U);
}

TEST(OpenSource, RefusesWhatIsNoFile) {
  const test::TempDir dir;
  EXPECT_EQ(open_source(dir.path()).error().code, Errc::invalid_argument);
  EXPECT_EQ(open_source("/dev/null").error().code, Errc::invalid_argument);
  EXPECT_EQ(open_source(dir / "none").error().code, Errc::invalid_argument);
}

TEST(BaseName, IsWhatFollowsTheLastSlash) {
  EXPECT_EQ(base_name("a/b.txt"), "b.txt");
  EXPECT_EQ(base_name("b.txt"), "b.txt");
  EXPECT_EQ(base_name("a/"), "");
}

TEST(NewFile, AppearsWholeAtTheCommit) {
  const test::TempDir dir;
  write(dir / "a", "old");
  {
    auto file = NewFile::create(dir / "a");
    ASSERT_TRUE(file);
    ASSERT_EQ(::write(file->fd(), "new", 3), 3);
    EXPECT_EQ(read(dir / "a"), "old");
    ASSERT_TRUE(file->commit());
  }
  EXPECT_EQ(read(dir / "a"), "new");
  EXPECT_EQ(entries(dir.path()), 1U);
}

TEST(NewFile, LeavesNothingWithoutACommit) {
  const test::TempDir dir;
  {
    auto file = NewFile::create(dir / "a");
    ASSERT_TRUE(file);
    const NewFile moved = std::move(*file);
    EXPECT_EQ(entries(dir.path()), 1U);
  }
  EXPECT_EQ(entries(dir.path()), 0U);
}

TEST(NewFile, NeedsItsFolder) {
  const test::TempDir dir;
  EXPECT_EQ(NewFile::create(dir / "none/a").error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace millrace::cli
