#include <sys/stat.h>

#include <array>
#include <string>
#include <vector>

#include "tests/contract/storage/store_fixture.h"

namespace millrace::test {
namespace {

using std::string_literals::operator""s;

TEST_P(ObjectStoreContract, ShowsAnObjectOnlyAfterItsCommit) {
  auto upload = wait(objects().start_put("box", "a.txt"));
  ASSERT_TRUE(upload) << upload.error().message;
  ASSERT_TRUE((*upload)->write("one "));
  ASSERT_TRUE((*upload)->write("two"));
  EXPECT_EQ(content_of("a.txt"), "<not_found>");

  const auto info = wait((*upload)->commit());
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->key, "a.txt");
  EXPECT_EQ(info->version.size_bytes, 7U);
  EXPECT_EQ(content_of("a.txt"), "one two");
}

TEST_P(ObjectStoreContract, TellsTheSameVersionByPutStatListAndOpen) {
  const auto info = put("folder/a.txt", "hello");
  ASSERT_TRUE(info) << info.error().message;
  const auto stated = wait(objects().stat("box", "folder/a.txt"));
  const auto listed = wait(objects().list("box", "", "", 10));
  const auto opened = wait(objects().open({.bucket = "box", .key = "folder/a.txt", .version = {}, .private_path = {}}));
  ASSERT_TRUE(stated && listed && opened);
  EXPECT_EQ(stated->version, info->version);
  ASSERT_EQ(listed->objects.size(), 1U);
  EXPECT_EQ(listed->objects[0].key, "folder/a.txt");
  EXPECT_EQ(listed->objects[0].version, info->version);
  EXPECT_EQ(opened->version, info->version);
  EXPECT_GT(info->version.mtime_ns, 1'500'000'000'000'000'000);
}

TEST_P(ObjectStoreContract, ReplacesAnObjectWhileItIsBeingRead) {
  ASSERT_TRUE(put("a", "old"));
  const auto reader = wait(objects().open({.bucket = "box", .key = "a", .version = {}, .private_path = {}}));
  ASSERT_TRUE(reader);
  ASSERT_TRUE(put("a", "newer"));
  std::array<char, 8> text{};
  EXPECT_EQ(read(reader->fd.get(), text.data(), text.size()), 3);
  EXPECT_STREQ(text.data(), "old");
  EXPECT_EQ(content_of("a"), "newer");
}

TEST_P(ObjectStoreContract, KeepsAnEmptyObject) {
  const auto info = put("empty", "");
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->version.size_bytes, 0U);
  EXPECT_EQ(content_of("empty"), "");
  EXPECT_EQ(wait(objects().list("box", "", "", 10))->objects.size(), 1U);
}

TEST_P(ObjectStoreContract, TakesNamesAsTheyAre) {
  const std::vector<std::string> keys = {"with space.txt",      "new\nline",           "-rf",      "grüße/日本語.jpg",
                                         "\xff\xfe not UTF-8",  "a'b\"c\\d",           ".hidden",  "...",
                                         "a/.millrace/visible", std::string(255, 'n'), "tab\there"};
  for (const auto& key : keys) {
    ASSERT_TRUE(put(key, "content of " + key)) << key;
    EXPECT_EQ(content_of(key), "content of " + key);
  }
  EXPECT_EQ(wait(objects().list("box", "", "", 100))->objects.size(), keys.size());
}

TEST_P(ObjectStoreContract, TakesAKeyOf1024BytesAndRefusesAByteMore) {
  std::string key;
  for (int i = 0; i < 8; ++i) key += std::string(127, 'k') + "/";
  key.pop_back();
  key += "k";
  ASSERT_EQ(key.size(), 1024U);
  EXPECT_TRUE(put(key, "deep"));
  EXPECT_EQ(content_of(key), "deep");
  const auto listed = wait(objects().list("box", "", "", 10));
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->objects.size(), 1U);
  EXPECT_EQ(listed->objects[0].key, key);
  EXPECT_EQ(put_error(key + "k"), Errc::invalid_argument);
}

TEST_P(ObjectStoreContract, RefusesNamesThatLeadElsewhere) {
  for (const auto& key : {"../a"s, "a/../../b"s, ".."s, "."s, "a/./b"s, "/etc/passwd"s, "a//b"s, "a/"s, ""s, "a\0b"s,
                          ".millrace"s, ".millrace/tmp/x"s}) {
    EXPECT_EQ(put_error(key), Errc::invalid_argument) << key;
    EXPECT_EQ(content_of(key), "<invalid_argument>") << key;
    EXPECT_EQ(wait(objects().remove("box", key)).error().code, Errc::invalid_argument) << key;
    EXPECT_EQ(wait(objects().stat("box", key)).error().code, Errc::invalid_argument) << key;
  }
  for (const auto& bucket : {"../box"s, ""s, "."s, ".."s, "Box"s, "a/b"s, ".millrace"s, std::string(64, 'b')}) {
    EXPECT_EQ(wait(objects().ensure_bucket(bucket)).error().code, Errc::invalid_argument) << bucket;
    EXPECT_EQ(wait(objects().list(bucket, "", "", 1)).error().code, Errc::invalid_argument) << bucket;
  }
}

TEST_P(ObjectStoreContract, OpensNoPrivatePathThatLeadsElsewhere) {
  for (const auto& path : {"box/a"s, "box/.millrace/../a"s, "../.millrace/x"s, "box"s, "/box/.millrace/a"s,
                           "box/.millrace/"s, ".millrace"s, "box/.millrace/a\0b"s}) {
    EXPECT_EQ(content_of(ObjectRef{.bucket = "box", .key = "a", .version = {}, .private_path = path}),
              "<invalid_argument>")
        << path;
  }
}

TEST_P(ObjectStoreContract, SaysWhatIsNotThere) {
  EXPECT_EQ(content_of("nothing"), "<not_found>");
  EXPECT_EQ(wait(objects().stat("box", "no/thing")).error().code, Errc::not_found);
  EXPECT_EQ(wait(objects().remove("box", "nothing")).error().code, Errc::not_found);
  ASSERT_TRUE(put("file", "x"));
  EXPECT_EQ(content_of("file/below"), "<not_found>");
  const auto missing = wait(objects().start_put("nowhere", "a"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_NE(missing.error().message.find("nowhere"), std::string::npos);
}

TEST_P(ObjectStoreContract, RefusesANameThatIsAFolderOrLeadsThroughAFile) {
  ASSERT_TRUE(put("folder/a", "x"));
  const auto over_folder = put("folder", "y");
  ASSERT_FALSE(over_folder);
  EXPECT_EQ(over_folder.error().code, Errc::failed_precondition);
  EXPECT_NE(over_folder.error().message.find("folder"), std::string::npos);
  EXPECT_EQ(put_error("folder/a/b"), Errc::failed_precondition);
  EXPECT_EQ(content_of("folder"), "<failed_precondition>");
  EXPECT_EQ(wait(objects().stat("box", "folder")).error().code, Errc::failed_precondition);
  EXPECT_EQ(wait(objects().remove("box", "folder")).error().code, Errc::failed_precondition);
  EXPECT_EQ(content_of("folder/a"), "x");
}

TEST_P(ObjectStoreContract, LeavesNothingOfADroppedUpload) {
  {
    auto upload = wait(objects().start_put("box", "new/a"));
    ASSERT_TRUE(upload);
    ASSERT_TRUE((*upload)->write("lost"));
  }
  EXPECT_EQ(content_of("new/a"), "<not_found>");
  EXPECT_TRUE(wait(objects().list("box", "", "", 10))->objects.empty());
}

TEST_P(ObjectStoreContract, CommitsOnce) {
  auto upload = wait(objects().start_put("box", "a"));
  ASSERT_TRUE(upload);
  ASSERT_TRUE(wait((*upload)->commit()));
  EXPECT_EQ(wait((*upload)->commit()).error().code, Errc::failed_precondition);
  EXPECT_EQ((*upload)->write("more").error().code, Errc::failed_precondition);
  EXPECT_EQ(content_of("a"), "");
}

TEST_P(ObjectStoreContract, RemovesAnObject) {
  ASSERT_TRUE(put("a/b", "x"));
  ASSERT_TRUE(wait(objects().remove("box", "a/b")));
  EXPECT_EQ(content_of("a/b"), "<not_found>");
  EXPECT_EQ(wait(objects().remove("box", "a/b")).error().code, Errc::not_found);
  EXPECT_TRUE(put("a/b", "again"));
}

TEST_P(ObjectStoreContract, ListsItsBuckets) {
  ASSERT_TRUE(wait(objects().ensure_bucket("zoo")));
  ASSERT_TRUE(wait(objects().ensure_bucket("a.b-c")));
  ASSERT_TRUE(wait(objects().ensure_bucket("zoo"))) << "a second time";
  const auto buckets = wait(objects().buckets());
  ASSERT_TRUE(buckets);
  EXPECT_EQ(*buckets, (std::vector<std::string>{"a.b-c", "box", "zoo"}));
}

TEST_P(ObjectStoreContract, ChecksTheBucketsOfAFunctionWithoutMakingThem) {
  EXPECT_TRUE(wait(objects().check_buckets({.inputs = {"box", "new"}, .outputs = {"box", "other"}})));
  EXPECT_EQ(*wait(objects().buckets()), std::vector<std::string>{"box"});
  EXPECT_FALSE(wait(objects().check_buckets({.inputs = {"No Bucket"}, .outputs = {}})));
  EXPECT_FALSE(wait(objects().check_buckets({.inputs = {}, .outputs = {"No Bucket"}})));
}

TEST_P(ObjectStoreContract, KeepsManyUploadsApart) {
  std::vector<std::unique_ptr<Upload>> uploads;
  for (int i = 0; i < 20; ++i) {
    auto upload = wait(objects().start_put("box", "same"));
    ASSERT_TRUE(upload);
    ASSERT_TRUE((*upload)->write(std::to_string(i)));
    uploads.push_back(std::move(*upload));
  }
  for (int i = 19; i >= 0; --i) ASSERT_TRUE(wait(uploads[static_cast<std::size_t>(i)]->commit()));
  EXPECT_EQ(content_of("same"), "0");
}

}  // namespace
}  // namespace millrace::test
