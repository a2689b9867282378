#include "state/postgres/library.h"

#include <algorithm>
#include <array>
#include <utility>

namespace millrace::postgres {
namespace {

std::string message_of(const std::string& name, const char* said) {
  std::string text = said == nullptr ? "" : said;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  // The server's hints and details come on lines of their own.
  std::ranges::replace(text, '\n', ' ');
  return "state store " + name + ": " + (text.empty() ? "the connection broke" : text);
}

}  // namespace

// https://www.postgresql.org/docs/15/errcodes-appendix.html
Errc errc_of(std::string_view sqlstate) {
  constexpr std::array<std::pair<std::string_view, Errc>, 18> kMeanings = {{
      {"53100", Errc::no_space},
      {"53", Errc::unavailable},  // memory, connections, a limit of the server's
      {"54", Errc::too_large},
      {"42501", Errc::permission_denied},
      {"28", Errc::permission_denied},
      {"3D000", Errc::not_found},  // no such database
      {"42P01", Errc::failed_precondition},
      {"3F000", Errc::failed_precondition},  // tables or schema are gone
      {"25006", Errc::unavailable},          // read-only: a standby, until it is promoted
      {"25P03", Errc::unavailable},          // idle in a transaction for too long: this process was stopped
      {"XX001", Errc::data_loss},
      {"XX002", Errc::data_loss},
      {"58", Errc::unavailable},  // an error of the server's system
      {"08", Errc::unavailable},
      {"40", Errc::unavailable},
      {"55", Errc::unavailable},  // a lock was not to be had
      {"57", Errc::unavailable},  // cancelled, shutting down, starting
      {"", Errc::unavailable},
  }};
  for (const auto& [start, code] : kMeanings) {
    if (start.empty() ? sqlstate.empty() : sqlstate.starts_with(start)) return code;
  }
  return Errc::internal;
}

bool is_conflict(std::string_view sqlstate) {
  return sqlstate == "40001" || sqlstate == "40P01";
}

std::string sqlstate_of(const PGresult* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  return state == nullptr ? "" : state;
}

Error error_of(const PGresult* result, const std::string& name) {
  return {.code = errc_of(sqlstate_of(result)), .message = message_of(name, PQresultErrorMessage(result))};
}

Error error_of(const PGconn* connection, const std::string& name) {
  return {.code = Errc::unavailable, .message = message_of(name, PQerrorMessage(connection))};
}

}  // namespace millrace::postgres
