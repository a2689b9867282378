#include "state/postgres/url.h"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

namespace millrace::postgres {
namespace {

struct OptionsCloser {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

using Option = std::pair<std::string, std::string>;

// Ours where the URL says nothing. A server that has gone without a word is noticed within about 20 s, and what it may
// still do for a client that has gone ends as soon.
constexpr std::array<std::pair<const char*, const char*>, 6> kDefaults = {{
    {"connect_timeout", "5"},
    {"keepalives_idle", "10"},
    {"keepalives_interval", "3"},
    {"keepalives_count", "3"},
    {"tcp_user_timeout", "15000"},
    {"fallback_application_name", "millrace"},
}};

// The parser's own words would repeat the URL, and with it what may be a password.
Error unreadable() {
  return {.code = Errc::invalid_argument,
          .message =
              "the state store's URL cannot be read; expected postgres://user@host:port/database?option=value "
              "with options of libpq, and %XX for special characters"};
}

std::string value_of(const std::vector<Option>& options, std::string_view keyword, const std::string& fallback) {
  const auto found = std::ranges::find(options, keyword, &Option::first);
  return found == options.end() || found->second.empty() ? fallback : found->second;
}

std::string name_of(const std::vector<Option>& options) {
  const std::string host = value_of(options, "host", value_of(options, "hostaddr", "localhost"));
  const std::string port = value_of(options, "port", "5432");
  const std::string database = value_of(options, "dbname", value_of(options, "user", ""));
  return "postgres://" + host + ":" + port + "/" + database;
}

}  // namespace

bool is_postgres_url(const std::string& url) {
  return url.starts_with("postgres://") || url.starts_with("postgresql://");
}

Result<Address> parse_url(const std::string& url) {
  if (!is_postgres_url(url)) return fail(unreadable());
  char* problem = nullptr;
  const std::unique_ptr<PQconninfoOption, OptionsCloser> parsed(PQconninfoParse(url.c_str(), &problem));
  PQfreemem(problem);
  if (!parsed) return fail(unreadable());
  Address address;
  for (const PQconninfoOption* option = parsed.get(); option->keyword != nullptr; ++option) {  // NOLINT: libpq's array
    if (option->val == nullptr) continue;
    const std::string_view keyword = option->keyword;
    if (keyword == "password" || keyword == "sslpassword") {
      return fail(Errc::invalid_argument,
                  "the state store's URL holds a password, which everybody on this machine could read; leave it out "
                  "and name a file with it in PGPASSFILE or in the URL's option passfile=FILE");
    }
    address.options.emplace_back(option->keyword, option->val);
  }
  for (const auto& [keyword, value] : kDefaults) {
    if (value_of(address.options, keyword, "").empty()) address.options.emplace_back(keyword, value);
  }
  address.name = name_of(address.options);
  return address;
}

}  // namespace millrace::postgres
