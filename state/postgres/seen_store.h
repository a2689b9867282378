// What triggers have published, in PostgreSQL.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "state/postgres/lane.h"
#include "state/state_store.h"

namespace millrace::postgres {

// Rows as three arrays, for statements of other stores that bring rows of their own.
void bind_seen(Parameters& parameters, const SeenRows& seen);
// "INSERT INTO seen ...", of the three parameters from `first` on, for as many rows as `condition` lets through.
[[nodiscard]] std::string insert_seen(int first, const std::string& condition);

class PostgresSeenStore final : public SeenStore {
 public:
  PostgresSeenStore(Lane& writer, Lane& reader) : writer_(writer), reader_(reader) {}

  Task<Result<std::map<std::string, EventId>>> all(std::string trigger) override;
  Task<Result<std::optional<EventId>>> get(std::string trigger, std::string key) override;
  Task<Result<void>> put(std::string trigger, std::map<std::string, EventId> rows) override;
  Task<Result<void>> remove(std::string trigger, std::vector<std::string> keys) override;
  Task<Result<void>> fill(std::string trigger, std::map<std::string, EventId> rows) override;
  Task<Result<bool>> filled(std::string trigger) override;
  Task<Result<void>> drop(std::string trigger) override;

 private:
  Lane& writer_;
  Lane& reader_;
};

[[nodiscard]] std::vector<Statement> seen_statements();

}  // namespace millrace::postgres
