#include <gtest/gtest.h>

#include <string>

#include "storage/object_store.h"
#include "storage/shown_name.h"

namespace millrace {
namespace {

using std::string_literals::operator""s;

TEST(BucketName, TakesOneTo63OfItsAlphabet) {
  for (const auto& name : {"a"s, "0"s, "my-bucket.v2"s, std::string(63, 'z'), "a."s, "a-"s}) {
    EXPECT_TRUE(check_bucket_name(name)) << name;
  }
  for (const auto& name :
       {""s, std::string(64, 'z'), "-a"s, ".a"s, ".."s, "A"s, "a_b"s, "a/b"s, "a b"s, "\xc3\xa9"s, "a\0"s, "a\n"s}) {
    const auto checked = check_bucket_name(name);
    ASSERT_FALSE(checked) << name;
    EXPECT_EQ(checked.error().code, Errc::invalid_argument);
  }
}

TEST(Key, TakesAnyBytesWithinItsParts) {
  for (const auto& key : {"a"s, "a/b/c"s, "-rf"s, " "s, "\n"s, "\xff\xfe"s, "..."s, ".hidden"s, "a/.millrace"s,
                          ".millrace2/a"s, ".millrac"s, std::string(1024, 'k')}) {
    EXPECT_TRUE(check_key(key)) << key;
  }
}

TEST(Key, RefusesWhatIsNoNameOrNotTheUsers) {
  for (const auto& key : {""s, "/"s, "/a"s, "a/"s, "a//b"s, "."s, ".."s, "./a"s, "a/.."s, "a/../b"s, "a\0b"s, "\0"s,
                          ".millrace"s, ".millrace/"s, ".millrace/a"s, std::string(1025, 'k')}) {
    const auto checked = check_key(key);
    ASSERT_FALSE(checked) << key;
    EXPECT_EQ(checked.error().code, Errc::invalid_argument);
  }
}

TEST(Key, SaysWhichKeyAndWhyWithoutControlCharacters) {
  EXPECT_EQ(check_key("a\x1b[31m/../b").error().message, "key 'a?[31m/../b': has a '.' or '..' part");
}

TEST(ShownName, CutsAndReplaces) {
  EXPECT_EQ(shown_name("a\r\n\x7f\xc3\xa9"), "a???\xc3\xa9");
  EXPECT_EQ(shown_name(std::string(200, 'x')), std::string(200, 'x'));
  EXPECT_EQ(shown_name(std::string(201, 'x')), std::string(200, 'x') + "...");
}

}  // namespace
}  // namespace millrace
