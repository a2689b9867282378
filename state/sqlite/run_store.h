// Attempts and run records in SQLite.
#pragma once

#include "state/sqlite/worker.h"
#include "state/state_store.h"

namespace millrace::sqlite {

class SqliteRunStore final : public RunStore {
 public:
  SqliteRunStore(EventLoop& loop, Worker& writer, Worker& reader) : loop_(loop), writer_(writer), reader_(reader) {}

  Task<Result<std::optional<RunRecord>>> begin_attempt(Attempt attempt) override;
  Task<Result<void>> end_attempt(Attempt attempt) override;
  Task<Result<bool>> abandon_attempt(Attempt attempt) override;
  Task<Result<std::vector<Attempt>>> attempts(RunId run_id) override;
  Task<Result<std::vector<Attempt>>> open_attempts(WallTime before, AttemptToken after, std::size_t limit) override;
  Task<Result<std::vector<Attempt>>> stale_directories(std::size_t limit) override;
  Task<Result<void>> forget_directory(AttemptToken token) override;
  Task<Result<std::vector<AttemptToken>>> unclaimed_directories(std::vector<AttemptToken> tokens) override;

  Task<Result<CommitResult>> commit(RunRecord record) override;
  Task<Result<void>> mark(RunId run_id, RunMarks marks) override;
  Task<Result<std::optional<RunRecord>>> get(RunId run_id) override;
  Task<Result<std::vector<RunRecord>>> list(RunFilter filter) override;
  Task<Result<std::vector<RunRecord>>> unfinished(WallTime before, RunId after, std::size_t limit) override;
  Task<Result<Order>> newest_order() override;
  Task<Result<std::vector<RunRecord>>> of_event(EventId event_id) override;
  Task<Result<std::vector<RunRecord>>> caused_by(RunId run_id) override;

  Task<Result<std::optional<WallTime>>> committed_before_last(std::size_t count) override;
  Task<Result<std::vector<OldRun>>> removable(WallTime before, RunId after, std::size_t limit) override;
  Task<Result<std::size_t>> remove(std::vector<RunId> run_ids) override;
  Task<Result<std::size_t>> remove_lone_attempts(WallTime before, std::size_t limit) override;

 private:
  EventLoop& loop_;
  Worker& writer_;
  Worker& reader_;
};

}  // namespace millrace::sqlite
