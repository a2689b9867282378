#include "cli/lines.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"

namespace millrace::cli {
namespace {

using Numbered = std::vector<std::pair<std::uint64_t, std::string>>;

class Lines : public testing::Test {
 protected:
  std::string file(const std::string& content) {
    const std::string path = dir_.path() + "/lines";
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  Numbered all(const std::string& content) {
    auto reader = LineReader::open(file(content));
    Numbered found;
    while (reader) {
      const auto line = reader->next();
      if (!line || !*line) break;
      found.emplace_back(reader->number(), **line);
    }
    return found;
  }

  test::TempDir dir_;
};

TEST_F(Lines, AreNumberedAndBlankOnesPassedOver) {
  EXPECT_EQ(all("a\n\n  \t\nb\r\n\r\nc"), (Numbered{{1, "a"}, {4, "b"}, {6, "c"}}));
  EXPECT_EQ(all(""), Numbered{});
  EXPECT_EQ(all("\n\n"), Numbered{});
  EXPECT_EQ(all("a\n"), (Numbered{{1, "a"}}));
}

TEST_F(Lines, AreWholeWhereverAReadEnds) {
  std::string content;
  Numbered wanted;
  for (std::uint64_t i = 1; i <= 400; ++i) {
    wanted.emplace_back(i, std::string(i * 7 % 1'000 + 1, 'x'));
    content += wanted.back().second + "\n";
  }
  EXPECT_EQ(all(content), wanted);
}

TEST_F(Lines, OneThatIsTooLongIsAnErrorWithItsNumber) {
  auto reader = LineReader::open(file("a\n" + std::string(LineReader::kLineBytesMax + (128 << 10), 'x')));
  ASSERT_TRUE(reader);
  EXPECT_TRUE(reader->next());
  const auto line = reader->next();
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code, Errc::too_large);
  EXPECT_EQ(reader->number(), 2U);
}

TEST_F(Lines, KnowHowFarTheyAre) {
  auto reader = LineReader::open(file("ab\ncd\n"));
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->size_bytes(), 6U);
  ASSERT_TRUE(reader->next());
  EXPECT_EQ(reader->read_bytes(), 3U);
}

TEST_F(Lines, AFileThatCannotBeReadIsNamed) {
  const auto missing = LineReader::open(dir_.path() + "/none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::invalid_argument);
  const auto folder = LineReader::open(dir_.path());
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace millrace::cli
