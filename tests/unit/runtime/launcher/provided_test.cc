#include "runtime/launcher/provided.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace millrace::launcher {
namespace {

ProvidedFile secret(std::string name, std::string content = "x") {
  return {.path = std::move(name), .content = std::move(content), .secret = true};
}
ProvidedFile file(std::string path, std::string content = "x") {
  return {.path = std::move(path), .content = std::move(content), .secret = false};
}

TEST(Provided, SurvivesTheWay) {
  const std::vector<ProvidedFile> files{
      secret("token", std::string("a\0b", 3)), secret("empty", ""),
      secret(std::string(kSecretNameBytesMax, 'n'), std::string(kSecretBytesMax, 'x')), file("/etc/app/config.yaml"),
      file("/data/x", std::string(kFileBytesMax, 'y'))};
  const auto packed = pack_provided(files);
  ASSERT_TRUE(packed) << packed.error().message;
  EXPECT_LE(packed->size(), kProvidedBytesMax);
  const auto back = unpack_provided(*packed);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, files);
  EXPECT_EQ(unpack_provided("")->size(), 0U);
}

TEST(Provided, RefusesWhatIsOverABoundWithoutShowingIt) {
  const std::vector<std::vector<ProvidedFile>> all{
      {secret("big", std::string(kSecretBytesMax + 1, 'S'))},
      {file("/data/big", std::string(kFileBytesMax + 1, 'S'))},
      {file("/data/1", std::string(kFileBytesMax, 'S')), file("/data/2", std::string(kFileBytesMax, 'S')),
       file("/data/3", "S")},
      std::vector<ProvidedFile>(kSecretsMax + 1, secret("s", "S")),
      std::vector<ProvidedFile>(kFilesMax + 1, file("/data/x", "S"))};
  for (const auto& files : all) {
    const auto packed = pack_provided(files);
    ASSERT_FALSE(packed);
    EXPECT_EQ(packed.error().code, Errc::invalid_argument);
    EXPECT_EQ(packed.error().message.find('S'), std::string::npos) << packed.error().message;
  }
}

TEST(Provided, RefusesNamesThatLeadElsewhere) {
  for (const char* name : {"", ".", "..", ".hidden", "a/b", "a b", "a\n", "ü"})
    EXPECT_FALSE(pack_provided({secret(name)})) << name;
  EXPECT_FALSE(pack_provided({secret(std::string(kSecretNameBytesMax + 1, 'n'))}));
  for (const char* path : {"", "/", "relative", "/a/../b", "/a/./b", "/a//b", "/a/", "/tmp/x", "/tmp", "/proc/self/x",
                           "/dev/x", "/sys/x", "/run/secrets/x", "/oscar/config/script.sh"}) {
    EXPECT_FALSE(pack_provided({file(path)})) << path;
  }
  EXPECT_FALSE(pack_provided({file("/a/" + std::string(256, 'n'))}));
  EXPECT_FALSE(pack_provided({file(std::string("/a\0b", 4))}));
  std::string deep;
  for (std::size_t i = 0; i < kFilePathDepthMax; ++i) deep += "/d";
  EXPECT_TRUE(pack_provided({file(deep)}));
  EXPECT_FALSE(pack_provided({file(deep + "/e")}));
  EXPECT_TRUE(pack_provided({file("/tmpx/y"), file("/run/other"), file("/etc/x")}));
}

TEST(Provided, TakesNothingThatIsCutOffOrChanged) {
  const auto packed = *pack_provided({secret("token", "value"), file("/etc/x", "content")});
  for (std::size_t size = 1; size < packed.size(); ++size) {
    const auto part = unpack_provided(std::string_view(packed).substr(0, size));
    // Exactly the first entry is a whole text of its own.
    if (part) EXPECT_EQ(part->size(), 1U) << size;
  }
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = packed;
    for (int changes = static_cast<int>(random() % 4); changes >= 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (const auto files = unpack_provided(bytes)) EXPECT_EQ(pack_provided(*files).value_or(""), bytes);
  }
}

}  // namespace
}  // namespace millrace::launcher
