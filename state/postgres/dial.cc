#include "state/postgres/dial.h"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "state/postgres/schema.h"
#include "state/postgres/session.h"
#include "state/state_store.h"

namespace millrace::postgres {
namespace {

constexpr int kServerVersionMin = 130000;

// One migration at a time, whoever comes: "MLRC".
constexpr const char* kLock = "SELECT pg_advisory_xact_lock(1296847427)";

// Each commit is on stable storage when it is told, whatever the server's default. A client that was stopped half way
// must not keep others' rows locked; nor may one statement hold a connection for ever. Compiling costs more than any
// statement of ours.
constexpr const char* kSettings =
    "SET synchronous_commit = on; SET default_transaction_isolation = 'read committed'; SET search_path = millrace;"
    "SET statement_timeout = '60s'; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '10s';"
    "SET jit = off; SET client_min_messages = 'warning'";

std::string value(const ResultPtr& result, int column) {
  return PQntuples(result.get()) == 0 ? "" : PQgetvalue(result.get(), 0, column);
}

Result<ServerFacts> look_at(Session& session) {
  ServerFacts facts{.version = PQserverVersion(session.get()), .weakness = {}, .replicated = false};
  if (facts.version < kServerVersionMin) {
    return fail(Errc::failed_precondition, "state store " + session.name() + ": the server is of version " +
                                               std::to_string(facts.version / 10'000) + "; 13 or newer is needed");
  }
  const auto asked = session.run(
      "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), current_setting('fsync'),"
      " current_setting('full_page_writes'), current_setting('synchronous_standby_names')");
  if (!asked) return fail(asked.error());
  if (value(*asked, 0) != "f" || value(*asked, 1) != "off") {
    return fail(Errc::unavailable, "state store " + session.name() +
                                       ": the server only reads; if it is a standby, name the primary, or several "
                                       "hosts and target_session_attrs=read-write");
  }
  if (value(*asked, 2) != "on") facts.weakness = "fsync is off";
  if (value(*asked, 3) != "on") facts.weakness += facts.weakness.empty() ? "full_page_writes is off" : "";
  facts.replicated = !value(*asked, 4).empty();
  return facts;
}

Result<void> check_durability(const Session& session, const ServerFacts& facts, bool allow_weak) {
  if (facts.weakness.empty() || allow_weak) return {};
  return fail(Errc::failed_precondition,
              "state store " + session.name() + ": the server confirms what a crash may take back: " + facts.weakness +
                  "; set it right in postgresql.conf, or say --allow-weak-durability yes to accept that");
}

// The version of the tables; 0 when there are none yet.
Result<int> version_of(Session& session) {
  const auto there = session.run(
      "SELECT to_regclass('millrace.schema_version') IS NOT NULL,"
      " (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('millrace'))");
  if (!there) return fail(there.error());
  if (value(*there, 0) != "t") {
    if (value(*there, 1) == "0" || value(*there, 1).empty()) return 0;
    return fail(Errc::failed_precondition, "state store " + session.name() +
                                               ": its schema 'millrace' is another program's; choose another "
                                               "database. Nothing was changed");
  }
  const auto version = session.run("SELECT version FROM millrace.schema_version");
  if (!version) return fail(version.error());
  return std::atoi(value(*version, 0).c_str());
}

Result<bool> is_current(const Session& session, int version) {
  const int known = static_cast<int>(migrations().size());
  if (version <= known) return version == known;
  return fail(Errc::failed_precondition,
              "state store " + session.name() + ": written by a newer build (schema " + std::to_string(version) +
                  ", this build knows up to " + std::to_string(known) +
                  "); start the newer build, or restore a copy from before the upgrade. Nothing was changed");
}

Result<void> create_schema(Session& session) {
  const auto there = session.run("SELECT to_regnamespace('millrace') IS NOT NULL");
  if (!there) return fail(there.error());
  // Making it where it is needs the right to make schemas, too.
  const std::string schema = value(*there, 0) == "t" ? "" : "CREATE SCHEMA millrace;";
  const auto made = session.run(schema + "CREATE TABLE millrace.schema_version (version INTEGER NOT NULL);" +
                                "INSERT INTO millrace.schema_version VALUES (0)");
  if (made) return {};
  Error error = made.error();
  if (error.code == Errc::permission_denied) {
    error.message += "; let its owner say CREATE SCHEMA millrace AUTHORIZATION <this user>";
  }
  return fail(std::move(error));
}

Result<void> migrate(Session& session) {
  for (const char* sql : {"BEGIN", kLock}) {
    if (const auto done = session.run(sql); !done) return fail(done.error());
  }
  // Another node may have been faster.
  const auto version = version_of(session);
  if (!version) return fail(version.error());
  const auto current = is_current(session, *version);
  if (!current) return fail(current.error());
  if (*version == 0) {
    if (const auto made = create_schema(session); !made) return made;
  }
  for (auto next = static_cast<std::size_t>(*version); next < migrations().size(); ++next) {
    if (const auto done = session.run(migrations()[next]); !done) {
      return fail(done.error().with("bring the schema from version " + std::to_string(next) + " to the next"));
    }
  }
  const auto noted = session.run("UPDATE schema_version SET version = " + std::to_string(migrations().size()));
  if (!noted) return fail(noted.error());
  const auto done = session.run("COMMIT");
  if (!done) return fail(done.error());
  return {};
}

Result<void> bring_up_to_date(Session& session) {
  const auto version = version_of(session);
  if (!version) return fail(version.error());
  const auto current = is_current(session, *version);
  if (!current) return fail(current.error());
  return *current ? Result<void>() : migrate(session);
}

Result<void> prepare_all(Session& session, const std::vector<Statement>& statements) {
  for (const Statement& statement : statements) {
    if (auto done = session.prepare(statement); !done) return done;
  }
  return {};
}

}  // namespace

Result<ServerFacts> look(const Address& address) {
  auto session = Session::connect(address);
  if (!session) return fail(session.error());
  return look_at(*session);
}

Result<Dialed> dial(const Dialing& dialing) {
  auto session = Session::connect(dialing.address);
  if (!session) return fail(session.error());
  auto facts = look_at(*session);
  if (!facts) return fail(facts.error());
  if (const auto strong = check_durability(*session, *facts, dialing.allow_weak_durability); !strong) {
    return fail(strong.error());
  }
  if (const auto set = session->run(kSettings); !set) return fail(set.error());
  if (const auto ready = bring_up_to_date(*session); !ready) return fail(ready.error());
  const auto asked = session->run("SELECT convert_from(id, 'UTF8') FROM store");
  if (!asked) return fail(asked.error());
  std::string store_id = value(*asked, 0);
  if (store_id.size() != kStoreIdLength) {
    return fail(Errc::data_loss, "state store " + session->name() + ": its id is not there; restore it from a copy");
  }
  if (const auto ready = prepare_all(*session, dialing.statements); !ready) return fail(ready.error());
  ConnectionPtr connection = session->release();
  if (PQsetnonblocking(connection.get(), 1) != 0 || PQenterPipelineMode(connection.get()) == 0) {
    return fail(error_of(connection.get(), dialing.address.name));
  }
  return Dialed{.connection = std::move(connection), .facts = std::move(*facts), .store_id = std::move(store_id)};
}

}  // namespace millrace::postgres
