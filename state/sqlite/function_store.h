// Functions in SQLite: one row each, the spec as JSON.
#pragma once

#include "state/sqlite/worker.h"
#include "state/state_store.h"

namespace millrace::sqlite {

class SqliteFunctionStore final : public FunctionStore {
 public:
  SqliteFunctionStore(Worker& writer, Worker& reader) : writer_(writer), reader_(reader) {}

  Task<Result<void>> put(FunctionSpec function) override;
  Task<Result<void>> remove(std::string name) override;
  Task<Result<std::vector<FunctionSpec>>> all() override;

 private:
  Worker& writer_;
  Worker& reader_;
};

}  // namespace millrace::sqlite
