#include "broker/nats/server_info.h"

#include <gtest/gtest.h>

namespace millrace::nats {
namespace {

TEST(NatsServerInfo, IsReadFromTheFirstLineOfAServer) {
  const auto alone = parse_server_info("INFO {\"server_id\":\"X\",\"version\":\"2.9.10\",\"port\":4222} \r");
  ASSERT_TRUE(alone);
  EXPECT_EQ(alone->version, "2.9.10");
  EXPECT_EQ(alone->cluster, "");
  const auto one_of_some = parse_server_info(R"(INFO {"version":"2.15.2","cluster":"events"})");
  ASSERT_TRUE(one_of_some);
  EXPECT_EQ(one_of_some->cluster, "events");
  for (const char* other : {"", "INFO", "INFO ", "INFO 3", "INFO {", "-ERR 'no'", "HTTP/1.1 400 Bad Request"}) {
    EXPECT_FALSE(parse_server_info(other)) << other;
  }
}

TEST(NatsServerInfo, VersionsBefore2Point10AreRefusedAndUnknownOnesAreNot) {
  for (const char* good : {"2.10.0", "2.10.0-beta.1", "2.15.2", "3.0.0", "10.1.0", "2.100", "", "dev", "2", "2.x"}) {
    EXPECT_TRUE(check_version({.version = good}, "nats://a:4222")) << good;
  }
  for (const char* old : {"2.9.10", "2.9.99", "2.1.0", "1.4.1", "0.9.6"}) {
    const auto refused = check_version({.version = old}, "nats://u:s3cret@a:4222");
    ASSERT_FALSE(refused) << old;
    EXPECT_EQ(refused.error().code, Errc::failed_precondition);
    EXPECT_EQ(refused.error().message,
              "the NATS server at nats://a:4222 is version " + std::string(old) + ": install 2.10 or newer");
  }
}

}  // namespace
}  // namespace millrace::nats
