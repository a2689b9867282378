#include "state/postgres/url.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace millrace::postgres {
namespace {

std::string option(const Address& address, const std::string& keyword) {
  const auto found =
      std::ranges::find_if(address.options, [&keyword](const auto& one) { return one.first == keyword; });
  return found == address.options.end() ? "" : found->second;
}

TEST(PostgresUrl, GivesLibpqItsOptionsAndPeopleAName) {
  const auto address = parse_url("postgres://ada@db.example:6543/runs?sslmode=verify-full&sslrootcert=/etc/ca.pem");
  ASSERT_TRUE(address);
  EXPECT_EQ(option(*address, "user"), "ada");
  EXPECT_EQ(option(*address, "host"), "db.example");
  EXPECT_EQ(option(*address, "port"), "6543");
  EXPECT_EQ(option(*address, "dbname"), "runs");
  EXPECT_EQ(option(*address, "sslmode"), "verify-full");
  EXPECT_EQ(option(*address, "sslrootcert"), "/etc/ca.pem");
  EXPECT_EQ(address->name, "postgres://db.example:6543/runs");
}

TEST(PostgresUrl, FillsInWhatNoticesAServerThatHasGone) {
  const auto plain = parse_url("postgresql:///runs");
  ASSERT_TRUE(plain);
  EXPECT_EQ(option(*plain, "tcp_user_timeout"), "15000");
  EXPECT_EQ(option(*plain, "keepalives_idle"), "10");
  EXPECT_EQ(plain->name, "postgres://localhost:5432/runs");
  const auto own = parse_url("postgres:///runs?tcp_user_timeout=1000");
  ASSERT_TRUE(own);
  EXPECT_EQ(option(*own, "tcp_user_timeout"), "1000");
}

TEST(PostgresUrl, RefusesAPasswordAndDoesNotRepeatIt) {
  for (const char* url : {"postgres://ada:s3cret@db/runs", "postgres://ada@db/runs?password=s3cret",
                          "postgres://ada@db/runs?sslpassword=s3cret", "postgres://ada:s3cret@db:port/runs"}) {
    const auto refused = parse_url(url);
    ASSERT_FALSE(refused) << url;
    EXPECT_EQ(refused.error().code, Errc::invalid_argument);
    EXPECT_THAT(refused.error().message, testing::Not(testing::HasSubstr("s3cret")));
  }
  EXPECT_THAT(parse_url("postgres://ada:s3cret@db/runs").error().message, testing::HasSubstr("PGPASSFILE"));
}

TEST(PostgresUrl, RefusesWhatIsNone) {
  for (const char* url : {"", "mysql://db/runs", "host=db", "postgres://db/runs?no_such_option=1",
                          "postgres://[db/runs", "postgres://db/%0"}) {
    const auto refused = parse_url(url);
    ASSERT_FALSE(refused) << url;
    EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  }
}

}  // namespace
}  // namespace millrace::postgres
