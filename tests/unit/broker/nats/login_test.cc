#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <string>

#include "broker/nats/nats_broker.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_dir.h"

namespace millrace::test {
namespace {

// Files are read before any server is asked.
Error refusal(NatsBrokerOptions options) {
  UvEventLoop loop;
  Metrics metrics;
  Log log({});
  options.url = "nats://127.0.0.1:1";
  options.connect_for = std::chrono::milliseconds(1);
  const auto opened = run_task(loop, open_nats_broker(std::move(options), loop, metrics, log));
  return opened ? Error{.code = Errc::internal, .message = "opened"} : opened.error();
}

TEST(NatsLogin, FilesThatCannotBeSecretsAreRefusedByName) {
  const TempDir directory;
  const std::string large = directory.path() + "/large";
  std::ofstream(large) << std::string(100'000, 'x');
  for (const std::string& path : {directory.path(), large, directory.path() + "/missing"}) {
    const auto password = refusal({.url = {}, .user = "u", .password_file = path});
    EXPECT_EQ(password.code, Errc::invalid_argument) << path;
    EXPECT_NE(password.message.find("password of the NATS user"), std::string::npos) << password.message;
    EXPECT_NE(password.message.find("'" + path + "'"), std::string::npos) << password.message;
    EXPECT_EQ(refusal({.url = {}, .token_file = path}).code, Errc::invalid_argument) << path;
    EXPECT_EQ(refusal({.url = {}, .credentials_file = path}).code, Errc::invalid_argument) << path;
  }
}

}  // namespace
}  // namespace millrace::test
