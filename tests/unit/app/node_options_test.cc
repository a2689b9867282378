#include "app/node_options.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "app/data_directory.h"
#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

using Values = std::map<std::string, std::string>;

Result<Config> configured(Values values) {
  return load_config({{.origin = "command line", .values = std::move(values)}});
}

const Values kShared{{"broker", "nats://127.0.0.1:4222"}, {"state", "postgres://me@db/millrace"}};

TEST(Roles, AreAllWithoutAWordAndInAFixedOrder) {
  EXPECT_EQ(configured({})->roles, "gateway,producer,worker");
  Values values = kShared;
  values["roles"] = "worker, gateway,worker";
  const auto config = configured(values);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->roles, "gateway,worker");
  EXPECT_TRUE(has_role(*config, "gateway"));
  EXPECT_TRUE(has_role(*config, "worker"));
  EXPECT_FALSE(has_role(*config, "producer"));
  EXPECT_FALSE(has_role(*config, "work"));
}

TEST(Roles, ThatDoNotExistAndNoneAreRefused) {
  for (const char* wrong : {"", ",", "worker,", "boss", "gateway producer", "Worker"}) {
    Values values = kShared;
    values["roles"] = wrong;
    EXPECT_FALSE(configured(values)) << '\'' << wrong << '\'';
  }
}

TEST(Roles, FewerThanAllNeedABrokerAndAStateStoreThatSeveralShare) {
  for (const Values& alone : {Values{}, Values{{"broker", "nats://h:1"}}, Values{{"state", "postgres://me@db/x"}},
                              Values{{"broker", "log:/x"}, {"state", "postgres://me@db/x"}},
                              Values{{"broker", "memory:"}, {"state", "postgres://me@db/x"}}}) {
    Values values = alone;
    values["roles"] = "worker";
    const auto refused = configured(values);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("--broker nats://"), std::string::npos) << refused.error().message;
    EXPECT_TRUE(configured(alone)) << "one that does everything needs nobody";
  }
}

TEST(NodeNames, AreThoseOfHosts) {
  EXPECT_EQ(configured({{"node", "rack-1.example_2"}})->node, "rack-1.example_2");
  for (const std::string& wrong : {std::string("a b"), std::string("a/b"), std::string("é"), std::string(254, 'a')}) {
    EXPECT_FALSE(configured({{"node", wrong}})) << wrong;
  }
}

TEST(BucketDirectory, IsAbsolute) {
  EXPECT_EQ(configured({{"bucket_directory", "/mnt/shared"}})->bucket_directory, "/mnt/shared");
  EXPECT_FALSE(configured({{"bucket_directory", "shared"}}));
}

TEST(DataDirectory, IsOneServersAtATime) {
  const test::TempDir directory;
  auto lock = lock_data_directory(directory.path());
  ASSERT_TRUE(lock) << lock.error().message;
  const auto second = lock_data_directory(directory.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::failed_precondition);
  lock->reset();
  EXPECT_TRUE(lock_data_directory(directory.path()));
}

TEST(DataDirectory, KeepsItsIdentity) {
  const test::TempDir one;
  const test::TempDir other;
  const auto identity = load_or_make_identity(one.path());
  ASSERT_TRUE(identity) << identity.error().message;
  EXPECT_EQ(identity->size(), 32U);
  EXPECT_EQ(*load_or_make_identity(one.path()), *identity);
  EXPECT_NE(*load_or_make_identity(other.path()), *identity);
  ASSERT_TRUE(write_file(other.path() + "/node-id", "half"));
  EXPECT_EQ(load_or_make_identity(other.path()).error().code, Errc::failed_precondition);
}

}  // namespace
}  // namespace millrace
