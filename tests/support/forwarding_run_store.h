// A run store that asks another one; for stand-ins that change some of the calls.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "state/state_store.h"

namespace millrace {

class ForwardingRunStore : public RunStore {
 public:
  explicit ForwardingRunStore(RunStore& store) : store_(store) {}

  Task<Result<std::optional<RunRecord>>> begin_attempt(Attempt attempt) override {
    return store_.begin_attempt(std::move(attempt));
  }
  Task<Result<void>> end_attempt(Attempt attempt) override { return store_.end_attempt(std::move(attempt)); }
  Task<Result<bool>> abandon_attempt(Attempt attempt) override { return store_.abandon_attempt(std::move(attempt)); }
  Task<Result<std::vector<Attempt>>> attempts(RunId run_id) override { return store_.attempts(std::move(run_id)); }
  Task<Result<std::vector<Attempt>>> open_attempts(WallTime before, AttemptToken after, std::size_t limit) override {
    return store_.open_attempts(before, after, limit);
  }
  Task<Result<std::vector<Attempt>>> stale_directories(std::size_t limit) override {
    return store_.stale_directories(limit);
  }
  Task<Result<void>> forget_directory(AttemptToken token) override { return store_.forget_directory(std::move(token)); }
  Task<Result<std::vector<AttemptToken>>> unclaimed_directories(std::vector<AttemptToken> tokens) override {
    return store_.unclaimed_directories(std::move(tokens));
  }
  Task<Result<CommitResult>> commit(RunRecord record) override { return store_.commit(std::move(record)); }
  Task<Result<void>> mark(RunId run_id, RunMarks marks) override {
    return store_.mark(std::move(run_id), std::move(marks));
  }
  Task<Result<std::optional<RunRecord>>> get(RunId run_id) override { return store_.get(std::move(run_id)); }
  Task<Result<std::vector<RunRecord>>> list(RunFilter filter) override { return store_.list(std::move(filter)); }
  Task<Result<std::vector<RunRecord>>> unfinished(WallTime before, RunId after, std::size_t limit) override {
    return store_.unfinished(before, std::move(after), limit);
  }
  Task<Result<Order>> newest_order() override { return store_.newest_order(); }
  Task<Result<std::vector<RunRecord>>> of_event(EventId event_id) override {
    return store_.of_event(std::move(event_id));
  }
  Task<Result<std::vector<RunRecord>>> caused_by(RunId run_id) override { return store_.caused_by(std::move(run_id)); }
  Task<Result<std::optional<WallTime>>> committed_before_last(std::size_t count) override {
    return store_.committed_before_last(count);
  }
  Task<Result<std::vector<OldRun>>> removable(WallTime before, RunId after, std::size_t limit) override {
    return store_.removable(before, std::move(after), limit);
  }
  Task<Result<std::size_t>> remove(std::vector<RunId> run_ids) override { return store_.remove(std::move(run_ids)); }
  Task<Result<std::size_t>> remove_lone_attempts(WallTime before, std::size_t limit) override {
    return store_.remove_lone_attempts(before, limit);
  }

 protected:
  RunStore& store_;
};

}  // namespace millrace
