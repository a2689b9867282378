#include "storage/fs/buckets.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "storage/fs/beneath.h"
#include "tests/support/temp_dir.h"

namespace millrace::fs {
namespace {

TEST(Buckets, LieBelowTheRootOrWhereTheOptionsSay) {
  const test::TempDir root;
  const test::TempDir elsewhere;
  auto buckets = Buckets::open(root / "deep/root", {{"far", elsewhere / "a/far"}});
  ASSERT_TRUE(buckets) << buckets.error().message;
  EXPECT_EQ((*buckets)->find("far").error().code, Errc::not_found);
  const auto near = (*buckets)->ensure("near");
  const auto far = (*buckets)->ensure("far");
  ASSERT_TRUE(near && far);
  EXPECT_EQ((*near)->host_path(), root / "deep/root/near");
  EXPECT_EQ((*far)->host_path(), elsewhere / "a/far");
  ASSERT_TRUE((*far)->workspace());
  EXPECT_TRUE(std::filesystem::is_directory(elsewhere / "a/far/.millrace/tmp"));
  EXPECT_EQ(*(*buckets)->names(), (std::vector<std::string>{"far", "near"}));
}

TEST(Buckets, RefuseRelativePlaces) {
  const test::TempDir root;
  EXPECT_EQ(Buckets::open("relative", {}).error().code, Errc::invalid_argument);
  EXPECT_EQ(Buckets::open(root.path(), {{"a", "relative"}}).error().code, Errc::invalid_argument);
  EXPECT_EQ(Buckets::open(root.path(), {{"A", "/x"}}).error().code, Errc::invalid_argument);
}

TEST(Buckets, NoticeThatABucketWasReplaced) {
  const test::TempDir root;
  auto buckets = Buckets::open(root.path(), {});
  ASSERT_TRUE((*buckets)->ensure("box"));
  const auto before = (*buckets)->find("box");
  ASSERT_TRUE((*before)->workspace());
  EXPECT_EQ((*buckets)->find("box")->get(), before->get()) << "the same one again";
  std::filesystem::rename(root / "box", root / "old");
  EXPECT_EQ((*buckets)->find("box").error().code, Errc::not_found);
  ASSERT_TRUE((*buckets)->ensure("box"));
  const auto after = (*buckets)->find("box");
  EXPECT_NE(after->get(), before->get());
  ASSERT_TRUE((*after)->workspace());
  EXPECT_TRUE(std::filesystem::is_directory(root / "box/.millrace/tmp"));
}

TEST(Buckets, AreNeitherLinksNorFiles) {
  const test::TempDir root;
  std::filesystem::create_directory(root / "real");
  std::filesystem::create_directory_symlink("real", root / "link");
  std::ofstream(root / "file") << "x";
  auto buckets = Buckets::open(root.path(), {});
  EXPECT_EQ((*buckets)->find("link").error().code, Errc::failed_precondition);
  EXPECT_EQ((*buckets)->find("file").error().code, Errc::failed_precondition);
  EXPECT_EQ((*buckets)->ensure("link").error().code, Errc::failed_precondition);
  EXPECT_EQ(*(*buckets)->names(), std::vector<std::string>{"real"});
}

TEST(Buckets, KeepTheirPrivateFolderPrivate) {
  const test::TempDir root;
  auto buckets = Buckets::open(root.path(), {});
  ASSERT_TRUE((*buckets)->ensure("open"));
  std::filesystem::create_directory(root / "open/.millrace");
  chmod((root / "open/.millrace").c_str(), 0777);
  ASSERT_TRUE((*(*buckets)->find("open"))->workspace());
  struct stat status{};
  ASSERT_EQ(stat((root / "open/.millrace").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U);

  ASSERT_TRUE((*buckets)->ensure("planted"));
  std::filesystem::create_directory_symlink(root / "open", root / "planted/.millrace");
  EXPECT_EQ((*(*buckets)->find("planted"))->workspace().error().code, Errc::failed_precondition);
}

TEST(Buckets, HoldABoundedNumberOpen) {
  const test::TempDir root;
  auto buckets = Buckets::open(root.path(), {});
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const auto before = descriptors();
  for (int i = 0; i < 300; ++i) {
    const auto bucket = (*buckets)->ensure("b" + std::to_string(i));
    ASSERT_TRUE(bucket) << bucket.error().message;
    ASSERT_TRUE((*bucket)->workspace());
  }
  EXPECT_LE(descriptors() - before, 128 * 4);
  EXPECT_TRUE((*buckets)->find("b0"));
}

TEST(PrivatePath, NamesABucketAndWhatIsOursInIt) {
  const auto in_bucket = parse_private_path("box/.millrace/ab/run/token.private/0");
  ASSERT_TRUE(in_bucket);
  EXPECT_EQ(in_bucket->bucket, "box");
  EXPECT_EQ(in_bucket->path, ".millrace/ab/run/token.private/0");
  const auto in_root = parse_private_path(".millrace/ab/x");
  ASSERT_TRUE(in_root);
  EXPECT_EQ(in_root->bucket, "");
  EXPECT_EQ(private_path(in_root->bucket, in_root->path), ".millrace/ab/x");
  EXPECT_EQ(private_path(in_bucket->bucket, in_bucket->path), "box/.millrace/ab/run/token.private/0");
  for (const std::string_view path :
       {"", "box", "box/", "box/a", "Box/.millrace/a", "box/.millrace", "box/.millrace/", "box/.millrace//a",
        "box/.millrace/..", "box/.millrace/a/../../x", "/", "../.millrace/a", ".millrace/../a", "/etc/passwd"}) {
    EXPECT_FALSE(parse_private_path(path)) << path;
  }
}

}  // namespace
}  // namespace millrace::fs
