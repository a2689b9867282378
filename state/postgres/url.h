// Where the database is, as a user writes it: postgres://user@host:port/database?option=value, as libpq knows it, with
// its TLS options. Never with a password: the URL stands on command lines, in logs and in this process' arguments.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace millrace::postgres {

struct Address {
  std::vector<std::pair<std::string, std::string>> options;  // libpq's keywords and values
  std::string name;                                          // for people: postgres://host:port/database
};

[[nodiscard]] bool is_postgres_url(const std::string& url);

// `invalid_argument`: no such URL, an unknown option, or a password in it.
[[nodiscard]] Result<Address> parse_url(const std::string& url);

}  // namespace millrace::postgres
