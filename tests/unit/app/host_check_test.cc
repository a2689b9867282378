#include "app/host_check.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

TEST(ImageDirectories, AreWrittenByTheirRealNames) {
  const test::TempDir dir;
  const std::string real = std::filesystem::canonical(dir.path()) / "images";
  std::filesystem::create_directories(real + "/below");
  const std::string link = std::filesystem::canonical(dir.path()) / "link";
  ASSERT_EQ(::symlink(real.c_str(), link.c_str()), 0);

  EXPECT_TRUE(check_real_name("image_directories", real));
  EXPECT_TRUE(check_real_name("image_directories", real + "/none"));
  for (const std::string& other : {link, link + "/below", real + "/"}) {
    const auto checked = check_real_name("image_directories", other);
    ASSERT_FALSE(checked) << other;
    EXPECT_EQ(checked.error().code, Errc::failed_precondition);
    EXPECT_NE(checked.error().message.find("'" + real), std::string::npos) << checked.error().message;
  }
}

}  // namespace
}  // namespace millrace
