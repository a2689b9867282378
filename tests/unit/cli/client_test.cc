#include "cli/client.h"

#include <gtest/gtest.h>

#include <fstream>

#include "cli/commands.h"
#include "tests/support/temp_dir.h"

namespace millrace::cli {
namespace {

TEST(Token, OfThisMachineIsForServersOnThisMachine) {
  for (const char* url : {"http://127.0.0.1:8090", "http://127.1.2.3", "http://localhost:1/", "http://[::1]:8090/x",
                          "https://localhost?a"}) {
    EXPECT_EQ(token_directory(url, ""), kDefaultData) << url;
  }
}

TEST(Token, OfThisMachineIsNotSentElsewhere) {
  for (const char* url :
       {"http://nodeB:8090", "http://10.0.0.1:8090", "http://0.0.0.0:8090", "http://[fe80::1]:8090",
        "http://127.0.0.1.example.org", "http://127.0.0.1@example.org", "http://localhost.example.org",
        "http://[::1].example.org", "http://127.0.0.1:80@example.org", "http://127.1", ""}) {
    EXPECT_FALSE(token_directory(url, "")) << url;
  }
}

TEST(Token, OfADirectoryThatIsNamedIsForAnyServer) {
  EXPECT_EQ(token_directory("http://nodeB:8090", "/data"), "/data");
  EXPECT_EQ(token_directory("http://127.0.0.1:8090", "/data"), "/data");
}

TEST(Token, IsTheFirstLineOfItsFile) {
  const test::TempDir dir;
  std::ofstream(dir / "admin-token") << "0123456789abcdef\nmore\n";
  EXPECT_EQ(token_in(dir / "admin-token"), "0123456789abcdef");
  EXPECT_EQ(token_in(dir / "none"), "");
}

}  // namespace
}  // namespace millrace::cli
