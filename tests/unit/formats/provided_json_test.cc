// The fields `secrets`, `files`, `root`, `profile` and images that are directories.
#include "formats/provided_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/provided_files.h"
#include "formats/function_json.h"
#include "tests/unit/formats/fdl_fixture.h"

namespace millrace {
namespace {

using test::fdl;
using test::one;
using test::problems_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Secrets, AreTextsBytesAndFiles) {
  Diagnostics problems;
  const auto functions = read_fdl(
      fdl("secrets:\n  token: 0123\n  binary: {base64: AAH/}\n  key: {file: key.pem}\n  empty: ''"), test::read_file,
      problems, [](std::string_view path) -> Result<std::string> { return "content of " + std::string(path); });
  ASSERT_TRUE(problems.empty()) << problems.to_error("").message;
  EXPECT_EQ(
      functions.at(0).secrets,
      (std::map<std::string, std::string>{
          {"token", "0123"}, {"binary", std::string("\0\1\xff", 3)}, {"key", "content of key.pem"}, {"empty", ""}}));
}

TEST(Secrets, SurviveTheWayAndAreShownByNameOnly) {
  auto f =
      one("secrets: {token: hunter2, other: {base64: /w==}}\nfiles: {/etc/app.conf: visible}\n"
          "root: copy_on_write\nprofile: compat\nimage: rootfs:/srv/images/debian");
  const auto back = function_from_json(to_full_json(f));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, f);
  const std::string shown = to_json(f).dump();
  EXPECT_THAT(shown, Not(HasSubstr("hunter2")));
  EXPECT_THAT(shown, HasSubstr(R"("secrets":["other","token"])"));
  EXPECT_THAT(shown, HasSubstr("visible"));
  EXPECT_THAT(shown, Not(HasSubstr("/w==")));
}

TEST(Secrets, RefusedOnesAreNamedAndNeverShown) {
  EXPECT_THAT(problems_of(fdl("secrets: hunter2")),
              ElementsAre("line 5: functions.millrace[0].secrets: must be a map from names to contents"));
  EXPECT_THAT(problems_of(fdl("secrets: [hunter2]")),
              ElementsAre("line 5: functions.millrace[0].secrets: must be a map from names to contents"));
  for (const char* value : {"[hunter2]", "{base64: hunter2!}", "{text: hunter2}", "{file: a, base64: hunter2}"}) {
    const auto problems = problems_of(fdl(std::string("secrets: {token: ") + value + "}"));
    ASSERT_EQ(problems.size(), 1U) << value;
    EXPECT_THAT(problems[0], HasSubstr("secrets.token: ")) << value;
    EXPECT_THAT(problems[0], Not(HasSubstr("hunter2"))) << value;
  }
  EXPECT_THAT(problems_of(fdl("secrets: {token: {file: key.pem}}")),
              ElementsAre(HasSubstr("names a file; send its content")));
  for (const char* name : {"../up", "a/b", ".hidden", "a b", "''"}) {
    EXPECT_THAT(problems_of(fdl(std::string("secrets: {") + name + ": x}")),
                ElementsAre(HasSubstr("cannot be the name of a secret")))
        << name;
  }
}

TEST(Secrets, AreBounded) {
  std::string many = "secrets:";
  for (std::size_t i = 0; i < kSecretsMax; ++i) many += "\n  s" + std::to_string(i) + ": x";
  EXPECT_THAT(problems_of(fdl(many)), ElementsAre());
  EXPECT_THAT(problems_of(fdl(many + "\n  more: x")), ElementsAre(HasSubstr("secrets: has 65 entries; at most 64")));
  std::string thousand = "secrets:";
  for (int i = 0; i < 1000; ++i) thousand += "\n  s" + std::to_string(i) + ": x";
  EXPECT_THAT(problems_of(fdl(thousand)), ElementsAre(HasSubstr("secrets: has 1000 entries; at most 64")));
  EXPECT_THAT(problems_of(fdl("secrets: {a: " + std::string(kSecretBytesMax, 'x') + "}")), ElementsAre());
  EXPECT_THAT(problems_of(fdl("secrets: {a: " + std::string(kSecretBytesMax + 1, 'x') + "}")),
              ElementsAre(HasSubstr("secrets.a: has 65537 bytes; at most 65536")));
}

TEST(Secrets, MayHoldANulByteAndVariablesMayNot) {
  EXPECT_EQ(one("secrets: {a: \"x\\0y\"}").secrets.at("a"), std::string("x\0y", 3));
  EXPECT_THAT(problems_of(fdl("environment: {A: \"x\\0y\"}")), ElementsAre(HasSubstr("contains a NUL byte")));
}

TEST(Files, LieAtPlainPathsOutsideOfOurs) {
  EXPECT_EQ(one("files: {/etc/app/config.yaml: 'a: 1'}").files.at("/etc/app/config.yaml"), "a: 1");
  for (const char* path : {"relative", "/", "/a/../b", "/a//b", "/tmp/x", "/proc/x", "/run/secrets/x", "/oscar/bin"}) {
    EXPECT_EQ(problems_of(fdl(std::string("files: {") + path + ": x}")).size(), 1U) << path;
  }
  EXPECT_THAT(problems_of(fdl("files: {/a: x, /a/b: y}")),
              ElementsAre(HasSubstr("'/a' is a file and the folder of another file")));
  EXPECT_THAT(problems_of(fdl("files: {/a: x, /a-b: z, /a/b: y}")), ElementsAre(HasSubstr("the folder of another")));
}

TEST(Files, AreBoundedTogether) {
  const std::string whole(kFileBytesMax, 'x');
  EXPECT_THAT(problems_of(fdl("files: {/a: " + whole + ", /b: " + whole + "}")), ElementsAre());
  EXPECT_THAT(problems_of(fdl("files: {/a: " + whole + ", /b: " + whole + ", /c: y}")),
              ElementsAre(HasSubstr("files: have 2097153 bytes together")));
  EXPECT_THAT(problems_of(fdl("files: {/a: " + whole + "y}")), ElementsAre(HasSubstr("files./a: has 1048577 bytes")));
}

TEST(RootfsImage, IsAPlainAbsolutePath) {
  EXPECT_EQ(one("image: rootfs:/srv/images/debian").image, "rootfs:/srv/images/debian");
  for (const char* path : {"", "relative", "/", "/a/", "/a/../b", "/a/./b", "/a//b", "/a/.."}) {
    EXPECT_THAT(problems_of(fdl(std::string("image: 'rootfs:") + path + "'")),
                ElementsAre(HasSubstr("plain absolute path of a directory")))
        << path;
  }
}

TEST(RootfsImage, DefaultsAreReadOnlyAndStrict) {
  const auto f = one("");
  EXPECT_EQ(f.root, RootKind::read_only);
  EXPECT_EQ(f.profile, ProfileKind::strict);
  EXPECT_THAT(problems_of(fdl("root: writable")), ElementsAre(HasSubstr("read_only, copy_on_write")));
  EXPECT_THAT(problems_of(fdl("profile: none")), ElementsAre(HasSubstr("strict, compat")));
  EXPECT_THAT(problems_of(fdl("runtime: runc")), ElementsAre(HasSubstr("is for executor: oci only")));
  EXPECT_THAT(problems_of(fdl("executor: oci\nruntime: /bin/sh")), ElementsAre(HasSubstr("such as runc")));
}

}  // namespace
}  // namespace millrace
