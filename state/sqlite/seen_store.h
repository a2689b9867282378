// What triggers have published, in SQLite.
#pragma once

#include "state/sqlite/worker.h"
#include "state/state_store.h"

namespace millrace::sqlite {

// For other writes that bring rows of their own: within a worker's transaction, and what they count in its queue.
[[nodiscard]] Result<void> write_seen(Database& database, const std::string& trigger,
                                      const std::map<std::string, EventId>& rows);
[[nodiscard]] std::size_t seen_bytes(const std::map<std::string, EventId>& rows);

class SqliteSeenStore final : public SeenStore {
 public:
  SqliteSeenStore(Worker& writer, Worker& reader) : writer_(writer), reader_(reader) {}

  Task<Result<std::map<std::string, EventId>>> all(std::string trigger) override;
  Task<Result<std::optional<EventId>>> get(std::string trigger, std::string key) override;
  Task<Result<void>> put(std::string trigger, std::map<std::string, EventId> rows) override;
  Task<Result<void>> remove(std::string trigger, std::vector<std::string> keys) override;
  Task<Result<void>> fill(std::string trigger, std::map<std::string, EventId> rows) override;
  Task<Result<bool>> filled(std::string trigger) override;
  Task<Result<void>> drop(std::string trigger) override;

 private:
  Worker& writer_;
  Worker& reader_;
};

}  // namespace millrace::sqlite
