// A connection while it is made ready: calls that wait for their answers, each with a limit. For a thread that may
// block; what is ready is handed to a Link.
#pragma once

#include <chrono>
#include <string>

#include "core/error.h"
#include "state/postgres/library.h"
#include "state/postgres/statement.h"
#include "state/postgres/url.h"

namespace millrace::postgres {

class Session {
 public:
  // `permission_denied`, `not_found` (the database), `failed_precondition` (certificates), else `unavailable`.
  [[nodiscard]] static Result<Session> connect(const Address& address);

  // One or more statements without parameters; the answer of the last one, its values as text.
  [[nodiscard]] Result<ResultPtr> run(const std::string& sql);

  [[nodiscard]] Result<void> prepare(const Statement& statement);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] ConnectionPtr release() { return std::move(connection_); }
  [[nodiscard]] PGconn* get() const { return connection_.get(); }

 private:
  using Deadline = std::chrono::steady_clock::time_point;

  Session(ConnectionPtr connection, std::string name) : connection_(std::move(connection)), name_(std::move(name)) {}

  Result<void> establish(Deadline deadline);
  Result<void> wait(short events, Deadline deadline);
  Result<ResultPtr> last_result(Deadline deadline);

  ConnectionPtr connection_;
  std::string name_;
};

}  // namespace millrace::postgres
