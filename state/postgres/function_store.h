// Functions in PostgreSQL: one row each, the spec as JSON.
#pragma once

#include <string>
#include <vector>

#include "state/postgres/lane.h"
#include "state/state_store.h"

namespace millrace::postgres {

class PostgresFunctionStore final : public FunctionStore {
 public:
  PostgresFunctionStore(Lane& writer, Lane& reader) : writer_(writer), reader_(reader) {}

  Task<Result<void>> put(FunctionSpec function) override;
  Task<Result<void>> remove(std::string name) override;
  Task<Result<std::vector<FunctionSpec>>> all() override;

 private:
  Lane& writer_;
  Lane& reader_;
};

[[nodiscard]] std::vector<Statement> function_statements();

}  // namespace millrace::postgres
