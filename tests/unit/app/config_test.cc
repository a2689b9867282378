#include "app/config.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

#include "engine/circuits.h"
#include "engine/retention.h"

namespace millrace {
namespace {

Result<Config> configured(std::map<std::string, std::string> values) {
  return load_config({{.origin = "command line", .values = std::move(values)}});
}

TEST(LogOptions, FollowEveryLevelAndFormat) {
  const std::map<std::string, LogLevel> levels = {
      {"debug", LogLevel::debug}, {"info", LogLevel::info}, {"warn", LogLevel::warn}, {"error", LogLevel::error}};
  for (const auto& [name, level] : levels) {
    const auto config = configured({{"log_level", name}});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(log_options(*config).level, level) << name;
  }
  EXPECT_EQ(log_options(*configured({})).level, LogLevel::info);
  EXPECT_EQ(log_options(*configured({})).format, LogFormat::text);
  EXPECT_EQ(log_options(*configured({{"log_format", "json"}})).format, LogFormat::json);
}

TEST(LoadConfig, RefusesALogLevelThatDoesNotExist) {
  const auto config = configured({{"log_level", "quiet"}});
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().message, "command line: log_level: 'quiet' is none of debug, info, warn, error");
}

TEST(LoadConfig, WantsIsolationUnlessToldOtherwise) {
  EXPECT_FALSE(configured({})->allow_missing_isolation);
  EXPECT_TRUE(configured({{"allow_missing_isolation", "yes"}})->allow_missing_isolation);
  EXPECT_FALSE(configured({{"allow_missing_isolation", "perhaps"}}));
}

TEST(LoadConfig, ReadsWhereBucketsLie) {
  const auto config = configured({{"buckets", "videos=/srv/videos, out=/mnt/a=b"}});
  ASSERT_TRUE(config) << config.error().message;
  const std::map<std::string, std::string> expected{{"videos", "/srv/videos"}, {"out", "/mnt/a=b"}};
  EXPECT_EQ(config->buckets, expected);
  EXPECT_TRUE(configured({{"buckets", ""}})->buckets.empty());
  for (const auto* wrong : {"videos", "videos=", "videos=relative", "=/srv", "a=/x,a=/y", "a=/x,,b=/y", "../a=/x"}) {
    EXPECT_FALSE(configured({{"buckets", wrong}})) << wrong;
  }
}

TEST(LoadConfig, LetsLaterSourcesWin) {
  const auto config = load_config({{.origin = "file", .values = {{"log_level", "error"}, {"node", "one"}}},
                                   {.origin = "environment", .values = {{"log_level", "warn"}}}});
  ASSERT_TRUE(config);
  EXPECT_EQ(log_options(*config).level, LogLevel::warn);
  EXPECT_EQ(config->node, "one");
}

TEST(LoadConfig, BreakersAndRetentionDefaultToWhatTheirCodeSays) {
  const auto config = configured({});
  ASSERT_TRUE(config) << config.error().message;
  const Circuits::Options breakers;
  EXPECT_EQ(config->breaker_errors, breakers.function.errors);
  EXPECT_EQ(config->breaker_store_errors, breakers.store.errors);
  for (const auto& one : {breakers.function, breakers.store}) {
    EXPECT_EQ(config->breaker_rest, one.rest_base);
    EXPECT_EQ(config->breaker_rest_max, one.rest_cap);
  }
  EXPECT_EQ(config->runs_kept_for, RetentionOptions().keep);
  EXPECT_EQ(config->runs_max, RetentionOptions().runs_max);
}

TEST(LoadConfig, KeepsNoRecordShorterThanRetentionDoes) {
  EXPECT_EQ(configured({{"runs_kept_for", "1h"}})->runs_kept_for, kRunsKeptMin);
  EXPECT_FALSE(configured({{"runs_kept_for", "59m"}}));
  EXPECT_FALSE(configured({{"runs_max", "99"}}));
}

TEST(LoadConfig, RefusesARestThatIsLongerThanTheLongest) {
  const auto config = configured({{"breaker_rest", "2s"}, {"breaker_rest_max", "1s"}, {"breaker_errors", "0"}});
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message.find("breaker_rest_max: 1s is shorter than breaker_rest, 2s"), std::string::npos);
  EXPECT_NE(config.error().message.find("breaker_errors: '0'"), std::string::npos) << "every problem at once";
  EXPECT_TRUE(configured({{"breaker_rest", "1s"}, {"breaker_rest_max", "1s"}}));
}

TEST(Config, UrlsOfNatsServersHaveNoLogin) {
  for (const auto& [option, url] : {std::pair{"broker", "nats://u:s3cret@127.0.0.1:4222"},
                                    std::pair{"nats_monitor", "http://u:s3cret@127.0.0.1:8222"}}) {
    const auto refused = configured({{option, url}});
    ASSERT_FALSE(refused) << option;
    EXPECT_NE(refused.error().message.find(option), std::string::npos) << refused.error().message;
    EXPECT_EQ(refused.error().message.find("s3cret"), std::string::npos) << refused.error().message;
  }
  EXPECT_FALSE(configured({{"nats_monitor", "u:s3cret@127.0.0.1:8222"}})) << "without http:// it would be one, too";
  EXPECT_EQ(configured({{"nats_monitor", "http://127.0.0.1:8222"}})->nats_monitor, "http://127.0.0.1:8222");
}

TEST(Config, TheStateStoreIsSqliteOrAUrlWithoutAPassword) {
  EXPECT_EQ(configured({})->state, "");
  const char* good = "postgres://ada@db.example:5432/runs?sslmode=verify-full&passfile=/etc/millrace/pgpass";
  ASSERT_TRUE(configured({{"state", good}}));
  EXPECT_EQ(configured({{"state", good}})->state, good);
  EXPECT_TRUE(configured({{"state", "postgresql:///runs?host=/run/postgresql"}}));
  for (const char* wrong : {"mysql://db/runs", "sqlite:", "/var/lib/state.db", "postgres://ada:s3cret@db/runs",
                            "postgres://:s3cret@db/runs", "postgres://ada@db/runs?password=s3cret",
                            "postgres:///runs?sslpassword=s3cret"}) {
    const auto refused = configured({{"state", wrong}});
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().message.find("s3cret"), std::string::npos) << refused.error().message;
  }
}

}  // namespace
}  // namespace millrace
