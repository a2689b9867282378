#include "tests/support/faulty_state.h"

#include <string>
#include <vector>

#include "state/memory/memory_state.h"
#include "tests/support/forwarding_run_store.h"

namespace millrace {

Result<void> FaultyState::Faults::enter(StateCall call) {
  ++calls[call];
  const auto found = failing.find(call);
  if (found == failing.end() || found->second.first == 0) return {};
  --found->second.first;
  return millrace::fail(found->second.second);
}

class FaultyState::Functions final : public FunctionStore {
 public:
  Functions(FunctionStore& store, Faults& faults) : store_(store), faults_(faults) {}

  Task<Result<void>> put(FunctionSpec function) override {
    if (auto ok = faults_.enter(StateCall::put_function); !ok) co_return ok;
    auto done = co_await store_.put(std::move(function));
    co_return done;
  }
  Task<Result<void>> remove(std::string name) override {
    if (auto ok = faults_.enter(StateCall::remove_function); !ok) co_return ok;
    auto done = co_await store_.remove(std::move(name));
    co_return done;
  }
  Task<Result<std::vector<FunctionSpec>>> all() override {
    if (auto ok = faults_.enter(StateCall::all_functions); !ok) co_return fail(ok.error());
    auto found = co_await store_.all();
    co_return found;
  }

 private:
  FunctionStore& store_;
  Faults& faults_;
};

class FaultyState::Runs final : public ForwardingRunStore {
 public:
  Runs(RunStore& store, Faults& faults) : ForwardingRunStore(store), faults_(faults) {}

  Task<Result<std::optional<RunRecord>>> begin_attempt(Attempt attempt) override {
    if (auto ok = faults_.enter(StateCall::begin_attempt); !ok) co_return fail(ok.error());
    auto done = co_await store_.begin_attempt(std::move(attempt));
    co_return done;
  }
  Task<Result<void>> end_attempt(Attempt attempt) override {
    if (auto ok = faults_.enter(StateCall::end_attempt); !ok) co_return ok;
    auto done = co_await store_.end_attempt(std::move(attempt));
    co_return done;
  }
  Task<Result<bool>> abandon_attempt(Attempt attempt) override {
    if (auto ok = faults_.enter(StateCall::end_attempt); !ok) co_return fail(ok.error());
    auto done = co_await store_.abandon_attempt(std::move(attempt));
    co_return done;
  }
  Task<Result<std::vector<Attempt>>> open_attempts(WallTime before, AttemptToken after, std::size_t limit) override {
    if (auto ok = faults_.enter(StateCall::open_attempts); !ok) co_return fail(ok.error());
    auto found = co_await store_.open_attempts(before, after, limit);
    co_return found;
  }
  Task<Result<std::vector<Attempt>>> stale_directories(std::size_t limit) override {
    if (auto ok = faults_.enter(StateCall::stale_directories); !ok) co_return fail(ok.error());
    auto found = co_await store_.stale_directories(limit);
    co_return found;
  }
  Task<Result<void>> forget_directory(AttemptToken token) override {
    if (auto ok = faults_.enter(StateCall::forget_directory); !ok) co_return ok;
    auto done = co_await store_.forget_directory(std::move(token));
    co_return done;
  }
  Task<Result<CommitResult>> commit(RunRecord record) override {
    if (auto ok = faults_.enter(StateCall::commit); !ok) co_return fail(ok.error());
    auto done = co_await store_.commit(std::move(record));
    co_return done;
  }
  Task<Result<void>> mark(RunId run_id, RunMarks marks) override {
    if (auto ok = faults_.enter(StateCall::mark); !ok) co_return ok;
    auto done = co_await store_.mark(std::move(run_id), std::move(marks));
    co_return done;
  }
  Task<Result<std::optional<RunRecord>>> get(RunId run_id) override {
    if (auto ok = faults_.enter(StateCall::get_run); !ok) co_return fail(ok.error());
    auto found = co_await store_.get(std::move(run_id));
    co_return found;
  }
  Task<Result<std::vector<RunRecord>>> unfinished(WallTime before, RunId after, std::size_t limit) override {
    if (auto ok = faults_.enter(StateCall::unfinished); !ok) co_return fail(ok.error());
    auto found = co_await store_.unfinished(before, std::move(after), limit);
    co_return found;
  }
  Task<Result<std::vector<OldRun>>> removable(WallTime before, RunId after, std::size_t limit) override {
    if (auto ok = faults_.enter(StateCall::removable); !ok) co_return fail(ok.error());
    auto found = co_await store_.removable(before, std::move(after), limit);
    co_return found;
  }
  Task<Result<std::size_t>> remove(std::vector<RunId> run_ids) override {
    if (auto ok = faults_.enter(StateCall::remove_runs); !ok) co_return fail(ok.error());
    auto done = co_await store_.remove(std::move(run_ids));
    co_return done;
  }

 private:
  Faults& faults_;
};

class FaultyState::Seen final : public SeenStore {
 public:
  Seen(SeenStore& store, Faults& faults) : store_(store), faults_(faults) {}

  Task<Result<std::map<std::string, EventId>>> all(std::string trigger) override {
    auto found = co_await store_.all(std::move(trigger));
    co_return found;
  }
  Task<Result<std::optional<EventId>>> get(std::string trigger, std::string key) override {
    if (auto ok = faults_.enter(StateCall::get_seen); !ok) co_return fail(ok.error());
    auto found = co_await store_.get(std::move(trigger), std::move(key));
    co_return found;
  }
  Task<Result<void>> put(std::string trigger, std::map<std::string, EventId> rows) override {
    if (auto ok = faults_.enter(StateCall::put_seen); !ok) co_return ok;
    auto done = co_await store_.put(std::move(trigger), std::move(rows));
    co_return done;
  }
  Task<Result<void>> remove(std::string trigger, std::vector<std::string> keys) override {
    auto done = co_await store_.remove(std::move(trigger), std::move(keys));
    co_return done;
  }
  Task<Result<void>> fill(std::string trigger, std::map<std::string, EventId> rows) override {
    auto done = co_await store_.fill(std::move(trigger), std::move(rows));
    co_return done;
  }
  Task<Result<bool>> filled(std::string trigger) override {
    auto known = co_await store_.filled(std::move(trigger));
    co_return known;
  }
  Task<Result<void>> drop(std::string trigger) override {
    auto done = co_await store_.drop(std::move(trigger));
    co_return done;
  }

 private:
  SeenStore& store_;
  Faults& faults_;
};

FaultyState::FaultyState(EventLoop& loop)
    : store_(make_memory_state(loop)),
      functions_(std::make_unique<Functions>(store_->functions(), faults_)),
      runs_(std::make_unique<Runs>(store_->runs(), faults_)),
      seen_(std::make_unique<Seen>(store_->seen(), faults_)) {}

FaultyState::~FaultyState() = default;

void FaultyState::fail_next(StateCall call, Error error, int count) {
  faults_.failing[call] = {count, std::move(error)};
}

int FaultyState::calls(StateCall call) const {
  const auto found = faults_.calls.find(call);
  return found == faults_.calls.end() ? 0 : found->second;
}

FunctionStore& FaultyState::functions() {
  return *functions_;
}

RunStore& FaultyState::runs() {
  return *runs_;
}

SeenStore& FaultyState::seen() {
  return *seen_;
}

Task<void> FaultyState::close() {
  co_await store_->close();
}

}  // namespace millrace
