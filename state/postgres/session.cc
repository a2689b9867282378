#include "state/postgres/session.h"

#include <poll.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::postgres {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kConnectMax{5};  // as the URL's own connect_timeout, which libpq leaves to its caller
constexpr std::chrono::seconds kAnswerMax{60};  // a migration may take its time

// What libpq cannot tell its caller would go to standard error.
void drop_notice(void*, const PGresult*) {}

// A refused connection has no result to ask; its words, told with the code, read "...: FATAL:  28P01: password ...".
std::string sqlstate_in(std::string_view said) {
  for (std::size_t at = said.find(":  "); at != std::string_view::npos; at = said.find(":  ", at + 1)) {
    const auto state = said.substr(at + 3, 5);
    const bool fits = state.size() == 5 && std::ranges::all_of(state, [](unsigned char c) {
                        return std::isdigit(c) != 0 || std::isupper(c) != 0;
                      });
    if (fits && said.substr(at + 8, 1) == ":") return std::string(state);
  }
  return {};
}

Error refusal(const PGconn* connection, const std::string& name) {
  Error error = error_of(connection, name);
  const auto state = sqlstate_in(error.message);
  if (!state.empty()) error.code = errc_of(state);
  // Certificates that do not fit, or a server without TLS: trying again mends neither.
  if (error.message.find("certificate") != std::string::npos ||
      error.message.find("does not support SSL") != std::string::npos) {
    error.code = Errc::failed_precondition;
  }
  if (const auto location = error.message.find(" LOCATION: "); location != std::string::npos) {
    error.message.resize(location);
  }
  return error;
}

}  // namespace

Result<Session> Session::connect(const Address& address) {
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (const auto& [keyword, value] : address.options) {
    keywords.push_back(keyword.c_str());
    values.push_back(value.c_str());
  }
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  Session session(ConnectionPtr(PQconnectStartParams(keywords.data(), values.data(), 0)), address.name);
  if (!session.connection_) return fail(Errc::resource_exhausted, "state store " + address.name + ": out of memory");
  if (const auto done = session.establish(steady_clock::now() + kConnectMax); !done) return fail(done.error());
  return session;
}

Result<void> Session::establish(Deadline deadline) {
  PGconn* connection = connection_.get();
  PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
  PQsetNoticeReceiver(connection, drop_notice, nullptr);
  PostgresPollingStatusType next =
      PQstatus(connection) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (next != PGRES_POLLING_OK) {
    if (next == PGRES_POLLING_FAILED) return fail(refusal(connection, name_));
    const short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    if (const auto ready = wait(events, deadline); !ready) return ready;
    next = PQconnectPoll(connection);
  }
  PQsetErrorVerbosity(connection, PQERRORS_DEFAULT);
  return {};
}

Result<void> Session::wait(short events, Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
    struct pollfd ready{.fd = PQsocket(connection_.get()), .events = events, .revents = 0};
    const int got = left <= 0 ? 0 : ::poll(&ready, 1, static_cast<int>(left));
    if (got > 0) return {};
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(error_from_errno(errno, "state store " + name_ + ": wait for the server"));
    return fail(Errc::unavailable, "state store " + name_ + ": the server does not answer");
  }
}

Result<ResultPtr> Session::last_result(Deadline deadline) {
  PGconn* connection = connection_.get();
  ResultPtr last;
  for (;;) {
    while (PQisBusy(connection) != 0) {
      if (const auto ready = wait(POLLIN, deadline); !ready) return fail(ready.error());
      if (PQconsumeInput(connection) == 0) return fail(error_of(connection, name_));
    }
    ResultPtr result(PQgetResult(connection));
    if (!result) break;
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) return fail(error_of(result.get(), name_));
    last = std::move(result);
  }
  if (!last) return fail(error_of(connection, name_));
  return last;
}

Result<ResultPtr> Session::run(const std::string& sql) {
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0) return fail(error_of(connection_.get(), name_));
  return last_result(steady_clock::now() + kAnswerMax);
}

Result<void> Session::prepare(const Statement& statement) {
  PGconn* connection = connection_.get();
  if (PQsendPrepare(connection, statement.name, statement.sql.c_str(), 0, nullptr) == 0) {
    return fail(error_of(connection, name_));
  }
  if (const auto done = last_result(steady_clock::now() + kAnswerMax); !done) {
    return fail(done.error().with(std::string("prepare ") + statement.name));
  }
  return {};
}

}  // namespace millrace::postgres
