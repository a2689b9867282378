// What libpq hands out, owned; and what its errors mean.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace::postgres {

struct ConnectionCloser {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
struct ResultCloser {
  void operator()(PGresult* result) const { PQclear(result); }
};
using ConnectionPtr = std::unique_ptr<PGconn, ConnectionCloser>;
using ResultPtr = std::unique_ptr<PGresult, ResultCloser>;

// How to react to a five-character SQLSTATE of the server; an empty one is libpq's own: the connection broke.
[[nodiscard]] Errc errc_of(std::string_view sqlstate);

// Only these may succeed when the very same statement is sent again at once: it lost a race inside the server.
[[nodiscard]] bool is_conflict(std::string_view sqlstate);

[[nodiscard]] std::string sqlstate_of(const PGresult* result);

// "state store NAME: <what the server said, without its trailing newline>".
[[nodiscard]] Error error_of(const PGresult* result, const std::string& name);
[[nodiscard]] Error error_of(const PGconn* connection, const std::string& name);

}  // namespace millrace::postgres
