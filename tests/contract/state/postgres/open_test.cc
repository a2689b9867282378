// What a store finds when it opens: servers, users and tables that are not as they should be.
#include <gmock/gmock.h>

#include <optional>

#include "async/task_group.h"
#include "tests/contract/state/backends.h"
#include "tests/contract/state/postgres/stores.h"

namespace millrace::test {
namespace {

using testing::HasSubstr;

class PostgresOpen : public PostgresTest {
 protected:
  PostgresServer& server_ = postgres_server();
  const std::string database_ = server_.make_database();
};

TEST_F(PostgresOpen, ANewerSchemaIsRefusedAndNotTouched) {
  server_.run(database_,
              "CREATE SCHEMA millrace; CREATE TABLE millrace.schema_version (version INTEGER NOT NULL);"
              "INSERT INTO millrace.schema_version VALUES (99)");
  const Error error = refused(options(server_.url(database_)));
  EXPECT_EQ(error.code, Errc::failed_precondition);
  EXPECT_THAT(error.message, HasSubstr("newer build"));
  EXPECT_EQ(server_.run(database_, "SELECT count(*) FROM pg_class WHERE relnamespace = 'millrace'::regnamespace"),
            "1\n");
  EXPECT_EQ(server_.run(database_, "SELECT version FROM millrace.schema_version"), "99\n");
}

TEST_F(PostgresOpen, SomebodyElsesSchemaIsRefusedAndNotTouched) {
  server_.run(database_, "CREATE SCHEMA millrace; CREATE TABLE millrace.wheels (width INTEGER)");
  const Error error = refused(options(server_.url(database_)));
  EXPECT_EQ(error.code, Errc::failed_precondition);
  EXPECT_THAT(error.message, HasSubstr("another program's"));
  EXPECT_EQ(server_.run(database_, "SELECT relname FROM pg_class WHERE relnamespace = 'millrace'::regnamespace"),
            "wheels\n");
}

TEST_F(PostgresOpen, AnOrdinaryUserNeedsASchemaOfHisOwn) {
  const std::string user = "user_of_" + database_;
  server_.run(database_, "CREATE ROLE " + user + " LOGIN");
  const Error error = refused(options(server_.url(database_, user)));
  EXPECT_EQ(error.code, Errc::permission_denied);
  EXPECT_THAT(error.message, HasSubstr("CREATE SCHEMA millrace AUTHORIZATION"));
  server_.run(database_, "CREATE SCHEMA millrace AUTHORIZATION " + user);
  const auto opened = node(options(server_.url(database_, user)));
  ASSERT_TRUE(opened);
  EXPECT_TRUE(run(opened->state->runs().commit(record("r"))));
  close(*opened);
}

TEST_F(PostgresOpen, UnknownUsersAndDatabasesAreToldApart) {
  EXPECT_EQ(refused(options(server_.url(database_, "nobody_known"))).code, Errc::permission_denied);
  EXPECT_EQ(refused(options(server_.url("no_such_database"))).code, Errc::not_found);
  const Error away = refused(options("postgres://postgres@/x?host=/nonexistent"));
  EXPECT_EQ(away.code, Errc::unavailable);
  EXPECT_THAT(away.message, HasSubstr("/nonexistent"));
  EXPECT_EQ(refused(options("postgres://postgres:secret@/x")).code, Errc::invalid_argument);
}

TEST_F(PostgresOpen, AServerThatOnlyReadsIsWaitedFor) {
  server_.run("postgres", "ALTER DATABASE " + database_ + " SET default_transaction_read_only = on");
  const Error error = refused(options(server_.url(database_)));
  EXPECT_EQ(error.code, Errc::unavailable);
  EXPECT_THAT(error.message, HasSubstr("only reads"));
}

Task<void> open_one(PostgresOptions options, EventLoop& loop, Log& log, Metrics& metrics,
                    std::vector<std::unique_ptr<StateStore>>& opened) {
  auto state = co_await open_postgres_state(std::move(options), loop, log, metrics);
  EXPECT_TRUE(state) << state.error().message;
  if (state) opened.push_back(std::move(*state));
}

TEST_F(PostgresOpen, NodesThatComeTogetherMakeTheTablesOnce) {
  constexpr std::size_t kNodes = 6;
  std::vector<std::unique_ptr<StateStore>> opened;
  Metrics metrics;
  TaskGroup group(loop_);
  for (std::size_t i = 0; i < kNodes; ++i) {
    group.spawn(open_one(options(server_.url(database_)), loop_, log_, metrics, opened));
  }
  run(group.join());
  EXPECT_EQ(opened.size(), kNodes);
  EXPECT_EQ(server_.run(database_, "SELECT count(*), max(version) FROM millrace.schema_version"), "1|6\n");
  for (const auto& state : opened) run(state->close());
}

class PostgresServers : public PostgresServerTest {};

TEST_F(PostgresServers, WeakDurabilityIsRefusedUnlessItIsAskedFor) {
  for (const char* setting : {"fsync=off", "full_page_writes=off"}) {
    restart({setting});
    auto asked = options(url_);
    const Error error = refused(asked);
    EXPECT_EQ(error.code, Errc::failed_precondition);
    EXPECT_THAT(error.message, HasSubstr(std::string(setting).substr(0, 5)));
    asked.allow_weak_durability = true;
    const auto opened = node(asked);
    ASSERT_TRUE(opened);
    close(*opened);
  }
}

TEST_F(PostgresServers, AServersLazyDefaultDoesNotReachOurCommits) {
  restart({"synchronous_commit=off", "default_transaction_isolation=serializable"});
  const auto opened = node(options(url_));
  ASSERT_TRUE(opened);
  // What each of its connections has set, as the server would tell it: a trigger notes it for every run.
  server_.run(database_,
              "CREATE TABLE noted (value TEXT); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
              " INSERT INTO public.noted VALUES (current_setting('synchronous_commit') || ' ' ||"
              " current_setting('transaction_isolation')); RETURN NEW; END $$;"
              "CREATE TRIGGER note BEFORE INSERT ON millrace.runs FOR EACH ROW EXECUTE FUNCTION note()");
  EXPECT_TRUE(run(opened->state->runs().commit(record("r"))));
  EXPECT_EQ(server_.run(database_, "SELECT value FROM noted"), "on read committed\n");
  close(*opened);
}

TEST_F(PostgresServers, AServerThatComesUpLateIsWaitedFor) {
  server_.kill();
  auto patient = options(url_);
  patient.start_wait = std::chrono::seconds(60);
  std::optional<ServersThread> starter;
  // Once the first try has failed.
  const auto begin =
      loop_.start_timer(std::chrono::milliseconds(100), [&] { starter.emplace([this] { server_.start(); }); });
  const auto opened = node(patient);
  ASSERT_TRUE(opened);
  EXPECT_TRUE(run(opened->state->runs().commit(record("r"))));
  close(*opened);
}

}  // namespace
}  // namespace millrace::test
