// SQL of ours: what is prepared once per connection, and one use of it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "state/postgres/parameters.h"

namespace millrace::postgres {

struct Statement {
  const char* name;  // unique
  std::string sql;
};

// One statement with its parameters: a prepared one, or a text that is planned each time.
struct Query {
  explicit Query(const Statement& statement) : name(statement.name) {}
  explicit Query(std::string text) : sql(std::move(text)) {}

  const char* name = nullptr;  // of a prepared statement
  std::string sql;             // where there is none
  Parameters parameters;
};

}  // namespace millrace::postgres
