#include "app/host_image_options.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "app/host_check.h"
#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

Result<Config> configured(std::map<std::string, std::string> values) {
  return load_config({{.origin = "command line", .values = std::move(values)}});
}
Result<Config> configured(const std::string& show, const std::string& hide = {}) {
  return configured({{"host_image_show", show}, {"host_image_hide", hide}});
}

TEST(HostImageOptions, BecomeTheLaunchersArguments) {
  const auto config = configured("/srv/models, /var/lib/dictionaries", "/etc/ssh,/srv/models/private");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(host_image_flags(*config), (std::vector<std::string>{"--show=/srv/models", "--show=/var/lib/dictionaries",
                                                                 "--hide=/etc/ssh", "--hide=/srv/models/private"}));
  EXPECT_TRUE(host_image_flags(*configured("")).empty());
}

TEST(HostImageOptions, ArePlainAbsolutePaths) {
  for (const auto* wrong :
       {"relative", "/", "/srv/", "/srv//x", "/srv/../etc", "/srv/..", "/srv/./x", "/srv,,/var/x"}) {
    EXPECT_FALSE(configured(wrong)) << wrong;
    EXPECT_FALSE(configured("", wrong)) << wrong;
  }
  std::string many;
  for (int i = 0; i < 65; ++i) many += (i == 0 ? "/srv/" : ",/srv/") + std::to_string(i);
  EXPECT_FALSE(configured(many));
  EXPECT_TRUE(configured(many.substr(0, many.rfind(','))));
}

TEST(HostImageOptions, ShowNothingThatIsSeenAnywayOrThatAContainerHasOfItsOwn) {
  for (const auto* wrong : {"/tmp", "/tmp/x", "/proc/1", "/run", "/sys/class", "/dev", "/oscar", "/var", "/var/tmp",
                            "/usr/share", "/etc", "/opt/x", "/lib64", "/srv,/srv/models", "/srv,/srv"}) {
    const auto config = configured(wrong);
    ASSERT_FALSE(config) << wrong;
    EXPECT_TRUE(config.error().message.starts_with("host_image_show: '")) << config.error().message;
  }
  EXPECT_TRUE(configured("/tmpx, /var/lib/x, /srv, /srv2, /home/me/models"));
}

TEST(HostImageOptions, HideOnlyWhatWouldBeSeen) {
  for (const auto* wrong :
       {"/srv", "/home/me", "/etc", "/usr", "/data", "/data2/x", "/etc/ssh,/etc/ssh/keys", "/etc/ssh,/etc/ssh"}) {
    const auto config = configured("/data", wrong);
    ASSERT_FALSE(config) << wrong;
    EXPECT_TRUE(config.error().message.starts_with("host_image_hide: '")) << config.error().message;
  }
  EXPECT_TRUE(configured("/data", "/data/x, /etc/ssh, /etc/ssh2, /opt/x/y"));
}

class HostImagePaths : public ::testing::Test {
 protected:
  [[nodiscard]] Config config() const {
    Config made;
    made.data = base_ + "/data";
    return made;
  }
  [[nodiscard]] static std::string refusal(const Config& config) {
    const auto checked = check_host_image_paths(config);
    if (checked) return {};
    EXPECT_EQ(checked.error().code, Errc::failed_precondition);
    return checked.error().message;
  }
  [[nodiscard]] std::string refusal(const std::string& show, const std::string& hide) const {
    Config made = config();
    made.host_image_show = {base_ + show};
    made.host_image_hide = {base_ + hide};
    return refusal(made);
  }

  test::TempDir dir_;
  std::string base_ = std::filesystem::canonical(dir_.path());
};

TEST_F(HostImagePaths, AreThereAndAreNoLinks) {
  std::filesystem::create_directories(base_ + "/models/large");
  std::filesystem::create_directory_symlink(base_ + "/models", base_ + "/link");
  EXPECT_EQ(refusal("/models", "/models/large"), "");
  EXPECT_EQ(refusal("/models", "/models/later"), "");
  EXPECT_NE(refusal("/none", "/models/large").find("there is no directory '" + base_ + "/none'"), std::string::npos);
  for (const std::string wrong : {"/link", "/link/large"}) {
    EXPECT_NE(refusal(wrong, "/models/large").find("is another name of '" + base_ + "/models"), std::string::npos);
  }
  // A mask of the other name would hide nothing, whether or not there is something to hide yet.
  for (const std::string wrong : {"/link", "/link/large", "/link/later"}) {
    EXPECT_NE(refusal("/models", wrong).find("is another name of '" + base_ + "/models"), std::string::npos) << wrong;
  }
}

TEST_F(HostImagePaths, NeverShowTheServersOwnData) {
  for (const char* name : {"/data/buckets", "/models/in"}) std::filesystem::create_directories(base_ + name);
  std::filesystem::create_directory_symlink(base_ + "/data", base_ + "/link");
  const auto refuses = [this](const std::string& show, const auto& change) {
    Config made = config();
    made.host_image_show = {base_ + show};
    change(made);
    return refusal(made).find("the server's own data") != std::string::npos;
  };
  const auto nothing = [](Config&) {};
  EXPECT_TRUE(refuses("", nothing));
  EXPECT_TRUE(refuses("/data", nothing));
  EXPECT_TRUE(refuses("/data/buckets", nothing));
  EXPECT_FALSE(refuses("/models", nothing));
  EXPECT_TRUE(refuses("/data", [this](Config& made) { made.data = base_ + "/link"; }));
  EXPECT_TRUE(refuses("/data", [this](Config& made) { made.data = base_ + "/data/not-yet/"; }));
  EXPECT_TRUE(refuses("/models", [this](Config& made) { made.bucket_directory = base_ + "/models"; }));
  EXPECT_TRUE(refuses("/models", [this](Config& made) { made.buckets = {{"in", base_ + "/models/in"}}; }));
}

}  // namespace
}  // namespace millrace
