#include "storage/fs/mark.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <string>

#include "storage/fs/beneath.h"
#include "tests/support/temp_dir.h"

namespace millrace::fs {
namespace {

using std::string_literals::operator""s;

OutputRank rank() {
  return {.order = Order("01J0000000000000000000000A"),
          .generation = 4'294'967'295,
          .event_id = EventId(std::string(32, 'e')),
          .run_id = RunId(std::string(32, 'r'))};
}

TEST(Mark, ComesBackAsItWasWritten) {
  EXPECT_EQ(decode_mark(encode_mark(rank())), rank());
  EXPECT_EQ(encode_mark(rank()),
            "1 01J0000000000000000000000A 4294967295 " + std::string(32, 'e') + " " + std::string(32, 'r'));
}

TEST(Mark, IsNothingUnlessItIsExactlyOurs) {
  for (const auto& text :
       {""s, "1"s, "1 o 0 e"s, "2 o 0 e r"s, "1 o x e r"s, "1 o 0x e r"s, "1 o -1 e r"s, "1 o 4294967296 e r"s,
        "1 o  e r"s, "1 o 0 e r more"s, "1 o 0 e r" + std::string(300, 'r'), "\0\0\0\0"s}) {
    EXPECT_FALSE(decode_mark(text)) << text;
  }
  EXPECT_TRUE(decode_mark("1 o 0 e r"));
}

TEST(Mark, IsReadWithoutFollowingOrOpening) {
  const test::TempDir directory;
  const Fd folder = open_directory(AT_FDCWD, "/proc/self/cwd");  // refused: a magic link
  EXPECT_FALSE(folder);
  const Fd root(open(directory.path().c_str(), O_RDONLY | O_DIRECTORY));
  const Fd file(openat(root.get(), "a", O_RDWR | O_CREAT, 0644));
  ASSERT_EQ(write_mark(file.get(), rank()), 0);
  ASSERT_EQ(symlinkat("a", root.get(), "link"), 0);
  ASSERT_EQ(mkfifoat(root.get(), "fifo", 0644), 0);

  EXPECT_EQ(read_mark(root.get(), "a")->value(), rank());
  EXPECT_EQ(read_mark(Fd(openat(root.get(), "a", O_PATH)).get())->value(), rank());
  EXPECT_FALSE(read_mark(Fd(openat(root.get(), "link", O_PATH | O_NOFOLLOW)).get())->has_value());
  EXPECT_FALSE(read_mark(root.get(), "link")->has_value());
  EXPECT_FALSE(read_mark(root.get(), "fifo")->has_value());
  EXPECT_EQ(read_mark(root.get(), "gone").error().code, Errc::not_found);

  ASSERT_EQ(fsetxattr(file.get(), "user.millrace.mark", std::string(1000, 'x').c_str(), 1000, 0), 0);
  EXPECT_FALSE(read_mark(root.get(), "a")->has_value()) << "longer than any mark";
}

}  // namespace
}  // namespace millrace::fs
